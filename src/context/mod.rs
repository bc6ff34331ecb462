//! Where the files of COPY, ADD and bind mounts come from: directories, Git, archives; and which of them are meant.

pub mod http;
pub mod selection;
