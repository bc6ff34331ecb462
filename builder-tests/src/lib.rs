//! End-to-end tests of cooper.
