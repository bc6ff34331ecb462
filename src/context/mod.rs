//! Where the files of COPY, ADD and bind mounts come from: directories, Git, archives; and which of them are meant.

pub mod glob;
pub mod ignore;
pub mod selection;

mod clean;
