//! Images of the store by name or id, and their ways in and out: registries, archives, layouts.

mod compress;
mod find;
mod image;
mod load;
mod members;

mod pull;
mod push;
mod remove;
mod save;

mod transfer;

pub use find::{Found, find, parse_name};
pub use image::{PlatformImage, StoredImage};
pub use load::{Loaded, load};

pub use pull::{Pull, pull};
pub use push::push;
pub use remove::{Removed, remove};
pub use save::{ArchiveFormat, save};

pub use transfer::Transfer;
