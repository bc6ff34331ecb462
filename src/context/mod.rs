//! Where the files of COPY, ADD and bind mounts come from: directories, Git, archives; and which of them are meant.

pub mod archive;
pub mod digest;
pub mod git;
pub mod glob;
pub mod ignore;
pub mod local;
pub mod select;
pub mod selection;
pub mod stat_cache;
pub mod tree;

mod clean;
