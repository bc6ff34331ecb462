//! cooper
fn main() {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == cooper::sandbox::RUN_ARGUMENT) {
        cooper::sandbox::child_main();
    }
}
