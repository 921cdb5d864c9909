//! From a folder of videos, of any model, to the paper's tables (section 4.1).

pub mod metric;
