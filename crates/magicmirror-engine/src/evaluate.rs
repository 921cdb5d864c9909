//! From videos, of any model, to the paper's tables (section 4.1).
//!
//! [`evaluate`] reads a [`Manifest`], looks at every video once, and writes numbers, tables and a page. Faces are found and
//! embedded in `faces`, compared in `identity`, their motion measured in `motion`; metrics with networks of their own
//! implement [`metric::Metric`].

mod action;
mod backdrop;
mod cache;
mod clip_score;
mod consistency;
mod dynamic;
mod faces;
mod fid;
mod flow;
mod identity;
mod inception;
mod manifest;
pub mod metric;
mod motion;
mod people;
mod prompts;
mod relative;
mod report;
mod results;
mod run;
mod statistics;
mod thumbnail;
mod warping;

pub use manifest::{Entry, Manifest};
pub use people::{PeopleRequest, PeopleSet, write_people};
pub use prompts::{PromptsRequest, write_prompts};
pub use relative::Relative;
pub use results::{FrameResult, ModelResult, ResultSettings, Results, VideoResult};
pub use run::{Request, evaluate};
pub use statistics::Estimate;
