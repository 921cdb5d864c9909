//! Frames per second of the renderer on two threads: `cargo bench -p magicmirror-people`.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use magicmirror_people::scene::{
    Background, Camera, EXPRESSION_UNITS, Garment, Gaze, Group, HeadPose, Lighting, Moment, NamedColour, Outfit, Place,
    Size,
};
use magicmirror_people::{Person, Scene, Set};

const THREADS: usize = 2;
const FRAMES: usize = 140;

fn main() -> std::io::Result<()> {
    let scenes: Vec<Scene> = (0..14)
        .map(|number| Scene {
            person: Person::from_seed(number, Group::ALL[number as usize % 7]),
            outfit: Outfit {
                garment: Garment::ALL[number as usize % 8],
                colour: NamedColour::ALL[number as usize % 12],
            },
            hat: None,
            background: Background { place: Place::Park, seed: number },
            lighting: Lighting::ALL[number as usize % 8],
            development: None,
        })
        .collect();
    let mut out = std::io::stdout().lock();
    // What is prepared once for the whole program is no part of the measure.
    let first = Set::new(&scenes[0]);
    let start = Instant::now();
    let sets = on_threads(scenes.len(), |index| Set::new(&scenes[index]));
    let seconds = start.elapsed().as_secs_f64() / sets.len() as f64;
    writeln!(out, "a scene made ready: {:.1} ms of one thread", 1000.0 * seconds * THREADS as f64)?;
    for size in [
        Size { width: 144, height: 96 },
        Size { width: 96, height: 144 },
        Size { width: 256, height: 256 },
        Size { width: 480, height: 320 },
    ] {
        first.shoot(&moment(0), size);
        let start = Instant::now();
        on_threads(FRAMES, |index| sets[index % sets.len()].shoot(&moment(index), size));
        let rate = FRAMES as f64 / start.elapsed().as_secs_f64();
        writeln!(out, "{} × {}: {rate:.0} frames/s on {THREADS} threads", size.width, size.height)?;
    }
    Ok(())
}

/// Results of `job` for 0 to `count`, in order.
fn on_threads<T: Send>(count: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return done;
            }
            done.push((index, job(index)));
        }
    };
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
}

/// A bust that turns, talks and looks about.
fn moment(index: usize) -> Moment {
    let share = (index % 20) as f32 / 20.0;
    let mut expression = vec![0.0; EXPRESSION_UNITS.len()];
    for (unit, weight) in [("jawOpen", share), ("mouthSmileLeft", 0.6), ("mouthSmileRight", 0.6), ("browInnerUp", 0.4)]
    {
        expression[EXPRESSION_UNITS.iter().position(|name| *name == unit).unwrap_or_default()] = weight;
    }
    Moment {
        pose: HeadPose { yaw: share - 0.5, pitch: 0.1, roll: 0.05 },
        gaze: Gaze { yaw: 0.1, pitch: 0.0 },
        expression,
        sway: [0.0; 3],
        camera: Camera { field_of_view: 0.42, distance: 1.0, right: 0.0, up: -0.03 },
    }
}
