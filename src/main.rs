//! cooper
fn main() {}
