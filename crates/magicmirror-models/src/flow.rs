//! Optical flow: how far every pixel of one image has moved in the next.

mod correlation;
mod encoder;
mod raft;
mod update;

pub use raft::Raft;
