//! Gradients of all replicas, added up.

use std::thread;

use burn::tensor::{Device, Tensor};

use super::parameters::Gradients;

/// Their sum, in main memory. Several CUDA devices add among themselves, by NCCL; all others there, in order.
///
/// # Panics
/// When a gradient is not f32, or NCCL fails.
pub(super) fn sum(mut replicas: Vec<Gradients>) -> Vec<Option<Vec<f32>>> {
    if let Some(devices) = cuda_devices(&replicas) {
        all_reduce(&mut replicas, |_, gradient| nccl(gradient, &devices));
        replicas.truncate(1);
    }
    let mut replicas = replicas.into_iter().map(Gradients::into_values);
    let mut sum = replicas.next().unwrap_or_default();
    replicas.for_each(|other| add(&mut sum, other));
    sum
}

/// Adds the gradients of another replica.
fn add(sum: &mut Vec<Option<Vec<f32>>>, other: Vec<Option<Vec<f32>>>) {
    sum.resize(sum.len().max(other.len()), None);
    for (sum, other) in sum.iter_mut().zip(other) {
        match (sum.as_mut(), other) {
            (Some(sum), Some(other)) => sum.iter_mut().zip(other).for_each(|(a, b)| *a += b),
            (None, other) => *sum = other,
            (Some(_), None) => {}
        }
    }
}

/// Makes the gradients of each replica those of all. `collective` takes a replica's number and one of its gradients, and
/// returns the sum when all have called: each replica calls it from a thread of its own, for the same parameters in the same
/// order.
fn all_reduce(replicas: &mut [Gradients], collective: impl Fn(usize, Tensor<1>) -> Tensor<1> + Sync) {
    fill(replicas);
    thread::scope(|scope| {
        for (number, gradients) in replicas.iter_mut().enumerate() {
            let collective = &collective;
            scope.spawn(move || gradients.replace_each(|gradient| collective(number, gradient)));
        }
    });
}

/// Zeros where another replica has a gradient: a parameter that only some have would leave the others waiting for ever.
fn fill(replicas: &mut [Gradients]) {
    let count = replicas.iter().map(Gradients::len).max().unwrap_or_default();
    for index in 0..count {
        let Some(size) = replicas.iter().find_map(|gradients| gradients.get(index)).map(|found| found.dims()[0]) else {
            continue;
        };
        for gradients in &mut *replicas {
            if gradients.get(index).is_none()
                && let Some(device) = gradients.device()
            {
                gradients.add(index, Tensor::zeros([size], &device));
            }
        }
    }
}

/// The devices of the replicas, where they are CUDA devices and no two are the same; none as well where a replica had nothing
/// to compute.
#[cfg(feature = "cuda")]
fn cuda_devices(replicas: &[Gradients]) -> Option<Vec<Device>> {
    let devices = replicas.iter().map(Gradients::device).collect::<Option<Vec<_>>>()?;
    let cuda = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec();
    let twice = (1..devices.len()).any(|number| devices[..number].contains(&devices[number]));
    (devices.len() > 1 && !twice && devices.iter().all(|device| cuda.contains(device))).then_some(devices)
}

#[cfg(not(feature = "cuda"))]
fn cuda_devices(_: &[Gradients]) -> Option<Vec<Device>> {
    None
}

fn nccl(gradient: Tensor<1>, devices: &[Device]) -> Tensor<1> {
    use burn::tensor::distributed::{ReduceOperation, all_reduce};
    all_reduce(gradient, ReduceOperation::Sum, devices.to_vec()).resolve()
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};

    use super::*;

    fn replica(values: [Option<[f32; 3]>; 4]) -> Gradients {
        let mut gradients = Gradients::empty(4);
        for (index, values) in values.into_iter().enumerate() {
            if let Some(values) = values {
                gradients.add(index, Tensor::from_floats(values, &Device::flex()));
            }
        }
        gradients
    }

    fn replicas() -> Vec<Gradients> {
        vec![
            replica([Some([1.0, 2.0, 3.0]), None, None, None]),
            replica([Some([10.0, 20.0, 30.0]), Some([5.0, 6.0, 7.0]), None, None]),
            replica([None, Some([0.5, 0.25, 0.125]), None, Some([-1.0, 0.0, 1.0])]),
        ]
    }

    #[test]
    fn replicas_add_up_in_main_memory_whatever_each_has() {
        let expected =
            vec![Some(vec![11.0, 22.0, 33.0]), Some(vec![5.5, 6.25, 7.125]), None, Some(vec![-1.0, 0.0, 1.0])];
        assert_eq!(sum(replicas()), expected);
        let mut idle = replicas();
        idle.insert(0, Gradients::empty(0));
        assert_eq!(sum(idle), expected);
        assert_eq!(sum(Vec::new()), Vec::new());
    }

    /// As NCCL adds, on devices that it does not know.
    #[test]
    fn a_collective_gives_every_replica_the_same_sum() {
        let mut all = replicas();
        let (parts, barrier) = (Mutex::new(vec![None; 3]), Barrier::new(3));
        all_reduce(&mut all, |number, gradient| {
            parts.lock().unwrap()[number] = Some(gradient);
            barrier.wait();
            let sum = parts.lock().unwrap().iter().flatten().cloned().reduce(|a, b| a + b).unwrap();
            barrier.wait();
            sum
        });
        let expected = sum(replicas());
        for gradients in all {
            assert_eq!(gradients.into_values(), expected);
        }
    }
}
