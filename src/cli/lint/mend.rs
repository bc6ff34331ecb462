//! `--fix`: edits until there is nothing left to edit, and a file that is replaced as a whole.

use crate::diag::{Diagnostic, Exit};
use crate::dockerfile::lint::fix;
use crate::plan::inspect::Inspected;
use std::io::Write;
use std::path::Path;

/// How often findings are mended: a changed keyword may bring a finding about the next one, no more.
const PASSES: usize = 8;

/// Mends what can be mended; returns the new text and what is left to find, `None` if nothing changes.
///
/// A change after which the text has a mistake that it did not have is not made; a text that cannot be parsed is left
/// alone.
pub fn mend(first: Inspected, look: &dyn Fn(&[u8]) -> Inspected) -> Option<(String, Inspected)> {
    first.dockerfile.as_ref()?;
    let had_error = first.error.is_some();
    let mut current = first;
    let mut mended = None;
    for _ in 0..PASSES {
        let Some(text) = fix::apply(&current.source.text, &current.findings) else { break };
        let next = look(text.as_bytes());
        if next.error.is_some() && !had_error {
            break;
        }
        current = next;
        mended = Some(text);
    }
    mended.map(|text| (text, current))
}

/// Replaces a file by one with this content and the same mode, at once; a link stays one and its target is replaced.
pub fn write(path: &Path, content: &[u8]) -> Result<(), Diagnostic> {
    let failed = |error: std::io::Error| {
        Diagnostic::error(Exit::Usage, format!("cannot write `{}`", path.display())).note(error.to_string())
    };
    let path = std::fs::canonicalize(path).map_err(failed)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    let permissions = std::fs::metadata(&path).map_err(failed)?.permissions();
    file.as_file().set_permissions(permissions).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    Ok(())
}
