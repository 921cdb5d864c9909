//! How much memory a run needs, how much there is, and how much it took.

use std::fmt;

use serde::Serialize;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// What one stage of a run needs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StageMemory {
    /// Name of the stage.
    pub stage: &'static str,
    /// Weights, in the precision they are kept in.
    pub weights: u64,
    /// Activations at the peak, estimated.
    pub activations: u64,
}

/// What a run needs: its parts are loaded one after the other, so the largest stage counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Each stage.
    pub stages: Vec<StageMemory>,
    /// Memory that programs may use now, in bytes.
    pub available: u64,
}

impl MemoryPlan {
    /// The stage that needs most.
    pub fn largest(&self) -> Option<&StageMemory> {
        self.stages.iter().max_by_key(|stage| stage.weights + stage.activations)
    }

    /// Bytes that the largest stage needs.
    pub fn needed(&self) -> u64 {
        self.largest().map_or(0, |stage| stage.weights + stage.activations)
    }

    /// Whether the run fits into the memory that is available.
    pub fn fits(&self) -> bool {
        self.needed() <= self.available
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory needed {}, available {}:", Bytes(self.needed()), Bytes(self.available))?;
        for stage in &self.stages {
            let StageMemory { stage, weights, activations } = *stage;
            write!(f, " {stage} {}", Bytes(weights + activations))?;
            if weights > 0 {
                write!(f, " (weights {})", Bytes(weights))?;
            }
        }
        Ok(())
    }
}

/// A number of bytes, shown in binary units.
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match bytes {
            _ if bytes >= 1024f64.powi(3) => write!(f, "{:.1} GiB", bytes / 1024f64.powi(3)),
            _ if bytes >= 1024f64.powi(2) => write!(f, "{:.1} MiB", bytes / 1024f64.powi(2)),
            _ => write!(f, "{:.1} KiB", bytes / 1024.0),
        }
    }
}

/// Memory that this process may still take, in bytes: the system's, or less where a control group or the limit on the
/// process's address space (`ulimit -v`) says so.
pub fn available() -> u64 {
    let system =
        System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()));
    // What a group has cached of files counts as used, but is given back when it is needed.
    let group = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory.saturating_sub(limits.rss));
    system.available_memory().min(group).min(address_space_left().unwrap_or(u64::MAX))
}

/// `None` without a limit, or where the system does not tell (only Linux does).
fn address_space_left() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?.split_whitespace().next()?;
    Some(soft.parse::<u64>().ok()?.saturating_sub(own_status("VmSize:")?))
}

/// The most memory that this process has held, in bytes; `None` where the system does not tell (only Linux does).
pub fn peak() -> Option<u64> {
    own_status("VmHWM:")
}

/// A number of kilobytes in the process's status, in bytes.
fn own_status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// Forgets the most memory that this process has held, so that [`peak`] tells of what comes after. False where the system
/// does not do so: then [`peak`] tells of all the process has done.
pub fn forget_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}
