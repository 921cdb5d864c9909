//! Where to compute: `--device`.

use std::str::FromStr;

use burn::tensor::Device;

/// A device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceName {
    Cpu,
    Cuda(usize),
    Rocm(usize),
    Vulkan,
    Metal,
}

impl DeviceName {
    /// The best device that this program is built for.
    fn best() -> Self {
        if cfg!(feature = "cuda") {
            Self::Cuda(0)
        } else if cfg!(feature = "rocm") {
            Self::Rocm(0)
        } else if cfg!(feature = "metal") {
            Self::Metal
        } else if cfg!(feature = "vulkan") {
            Self::Vulkan
        } else {
            Self::Cpu
        }
    }

    /// Opens the device.
    pub(crate) fn open(name: Option<Self>) -> anyhow::Result<Device> {
        match name.unwrap_or_else(Self::best) {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => Ok(Device::cuda(index)),
            #[cfg(feature = "rocm")]
            Self::Rocm(index) => Ok(Device::rocm(index)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(feature = "metal")]
            Self::Metal => Ok(Device::metal(burn::tensor::DeviceKind::DefaultDevice)),
            #[allow(unreachable_patterns, reason = "reachable unless all features are on")]
            other => anyhow::bail!(
                "this program was built without support for: {}\n\nhint: build it with `--features {}`, or use --device \
                 cpu",
                other.feature(),
                other.feature()
            ),
        }
    }

    fn feature(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda(_) => "cuda",
            Self::Rocm(_) => "rocm",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, index) = text.split_once(':').unwrap_or((text, "0"));
        let index: usize = index.parse().map_err(|_| format!("not the number of a device: {index}"))?;
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(index)),
            "rocm" => Ok(Self::Rocm(index)),
            "vulkan" => Ok(Self::Vulkan),
            "metal" => Ok(Self::Metal),
            _ => Err(format!("no such device: {name} (there are cpu, cuda, rocm, vulkan, metal)")),
        }
    }
}
