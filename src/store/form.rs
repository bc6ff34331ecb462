//! The form of the trees in a store: what one process writes another must be able to read.
//!
//! Overlayfs keeps its marks in `trusted.*` attributes, which only root of the machine can read, or in `user.*` ones; and where only
//! one id exists, owners are kept aside.  Trees of both kinds in one store would be read wrongly without a word: a directory that
//! hides what is below it would not hide it, files would be nobody's.  So the first build writes down what it does, and who comes
//! later does the same if it can.

use super::{IoContext, Store, StoreError, file};
use crate::sys::overlay::OverlayForm;
use std::fmt;
use std::path::Path;

/// The file that says it.
const MARK: &str = "form";
/// Bytes that it may have.
const MARK_LIMIT_BYTES: u64 = 64;
/// Directories with trees.
const TREES: [&str; 2] = ["layers", "mounts"];

/// How trees are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeForm {
    /// The attributes of overlayfs.
    pub overlay: OverlayForm,
    /// Whether owners are kept aside, see [`crate::sys::owner`].
    pub owners_aside: bool,
}

/// What a process can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usable {
    /// The form that it prefers; how owners are kept is not its choice.
    pub best: TreeForm,
    /// Whether it can read and write `trusted.*` attributes.
    pub has_trusted: bool,
}

impl Usable {
    fn allows(self, form: TreeForm) -> bool {
        form.owners_aside == self.best.owners_aside && (form.overlay == OverlayForm::User || self.has_trusted)
    }
}

impl fmt::Display for TreeForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.owners_aside, self.overlay) {
            (true, _) => "was filled with isolation `single-id` or `none`, which keep owners aside",
            (false, OverlayForm::Trusted) => "was filled by root of the machine, with attributes that only it can read",
            (false, OverlayForm::User) => "was filled by an isolation that gives files their owners",
        })
    }
}

impl fmt::Display for Usable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.best.owners_aside, self.has_trusted) {
            (true, _) => "and here only one owner exists",
            (false, true) => "and here owners are real",
            (false, false) => "and this is not root of the machine, or it has no CAP_SYS_ADMIN",
        })
    }
}

impl TreeForm {
    fn to_text(self) -> &'static str {
        match (self.overlay, self.owners_aside) {
            (OverlayForm::Trusted, false) => "trusted\n",
            (OverlayForm::User, false) => "user\n",
            (OverlayForm::Trusted, true) => "trusted aside\n",
            (OverlayForm::User, true) => "user aside\n",
        }
    }

    fn parse(text: &[u8]) -> Option<TreeForm> {
        let all = [OverlayForm::Trusted, OverlayForm::User]
            .into_iter()
            .flat_map(|overlay| [false, true].map(|owners_aside| TreeForm { overlay, owners_aside }));
        all.into_iter().find(|form| form.to_text().as_bytes() == text)
    }
}

impl Store {
    /// Returns the form of overlay attributes that a build must use in this store, and writes it down.
    ///
    /// Fails where the trees in it are in a form that cannot be used; an empty store takes the best.
    pub fn agree_on_form(&self, usable: Usable) -> Result<OverlayForm, StoreError> {
        let path = self.root().join(MARK);
        let write = |replace| file::write_atomically(self.root(), &path, usable.best.to_text().as_bytes(), replace);
        let found = match self.form_found(&path)? {
            Some(found) => found,
            None => {
                write(file::Replace::Never)?;
                // Another build may have been first.
                self.form_found(&path)?.unwrap_or(usable.best)
            }
        };
        if usable.allows(found) {
            return Ok(found.overlay);
        }
        if self.has_trees()? {
            return Err(StoreError::Form { path: self.root().to_owned(), found, wanted: usable });
        }
        write(file::Replace::Always)?;
        Ok(usable.best.overlay)
    }

    fn form_found(&self, path: &Path) -> Result<Option<TreeForm>, StoreError> {
        let Some(text) = file::read_limited(path, MARK_LIMIT_BYTES)? else { return Ok(None) };
        let damaged = || StoreError::Damaged { path: path.to_owned(), reason: "it names no form of trees".into() };
        TreeForm::parse(&text).map(Some).ok_or_else(damaged)
    }

    fn has_trees(&self) -> Result<bool, StoreError> {
        for name in TREES {
            let path = self.root().join(name);
            if std::fs::read_dir(&path).during("read", &path)?.next().is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::LayerMeta;

    const TRUSTED: TreeForm = TreeForm { overlay: OverlayForm::Trusted, owners_aside: false };
    const USER: TreeForm = TreeForm { overlay: OverlayForm::User, owners_aside: false };
    const ASIDE: TreeForm = TreeForm { overlay: OverlayForm::User, owners_aside: true };
    const MACHINE: Usable = Usable { best: TRUSTED, has_trusted: true };
    const CONTAINER: Usable = Usable { best: USER, has_trusted: false };
    const SINGLE_ID: Usable = Usable { best: ASIDE, has_trusted: false };

    fn filled_by(usable: Usable) -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        assert_eq!(store.agree_on_form(usable).unwrap(), usable.best.overlay);
        drop(store.seal_layer(store.new_layer().unwrap(), None, &LayerMeta::new(0)).unwrap());
        (directory, store)
    }

    #[test]
    fn who_comes_later_uses_the_form_that_is_there_or_is_refused() {
        use OverlayForm::{Trusted, User};
        for (first, second, expected) in [
            (MACHINE, MACHINE, Some(Trusted)),
            (MACHINE, CONTAINER, None),
            (MACHINE, SINGLE_ID, None),
            (CONTAINER, MACHINE, Some(User)),
            (CONTAINER, CONTAINER, Some(User)),
            (CONTAINER, SINGLE_ID, None),
            (SINGLE_ID, MACHINE, None),
            (SINGLE_ID, CONTAINER, None),
            (SINGLE_ID, SINGLE_ID, Some(User)),
        ] {
            let (_directory, store) = filled_by(first);
            assert_eq!(store.agree_on_form(second).ok(), expected, "{first:?}, then {second:?}");
            assert_eq!(store.agree_on_form(first).unwrap(), first.best.overlay, "nothing is lost");
        }
    }

    #[test]
    fn a_store_without_trees_takes_the_best_form_and_says_why_it_refuses_later() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        assert_eq!(store.agree_on_form(MACHINE).unwrap(), OverlayForm::Trusted);
        assert_eq!(store.agree_on_form(CONTAINER).unwrap(), OverlayForm::User);
        assert_eq!(store.agree_on_form(SINGLE_ID).unwrap(), OverlayForm::User);
        let (_directory, store) = filled_by(MACHINE);
        let refused = store.agree_on_form(CONTAINER).unwrap_err().to_string();
        let path = store.root().display();
        assert_eq!(
            refused,
            format!(
                "the store `{path}` was filled by root of the machine, with attributes that only it can read, \
                 and this is not root of the machine, or it has no CAP_SYS_ADMIN"
            )
        );
    }
}
