#![allow(clippy::unwrap_used)]

use super::lock::{Mode, try_lock};
use super::*;
use crate::image::{Descriptor, Digest, Reference};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
}

fn layer(store: &Store, id: Option<LayerId>, content: &str) -> HeldLayer {
    let pending = store.new_layer().unwrap();
    std::fs::write(pending.tree().join("f"), content).unwrap();
    store.seal_layer(pending, id, &LayerMeta::new(0)).unwrap()
}

fn all() -> PruneOptions {
    PruneOptions { all: true, ..PruneOptions::default() }
}

/// Sets the last use of a file back.
fn age(path: &Path, by: Duration) {
    let time = std::time::SystemTime::now() - by;
    File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_record_of_another_version_or_a_damaged_one_is_a_miss() {
    let (_dir, store) = store();
    let record = Record::new(Vec::new(), 1, 2);
    store.put_record(&[1; 32], &record).unwrap();
    assert_eq!(store.record(&[1; 32]).unwrap(), Some(record.clone()));
    assert_eq!(store.record(&[2; 32]).unwrap(), None);
    let path = store.root().join("records").join(hex::encode([1; 32]));
    for content in [
        serde_json::to_string(&Record { version: VERSION + 1, ..record }).unwrap(),
        "{\"version\":1,".to_owned(),
        String::new(),
        r#"{"version":1,"layers":["../../etc"],"created":0,"elapsed_ms":0}"#.to_owned(),
        " ".repeat(2 << 20),
    ] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(store.record(&[1; 32]).unwrap(), None);
    }
}

#[test]
fn damaged_files_are_told_or_mended() {
    let (_dir, store) = store();
    let digest = store.write_blob(b"content").unwrap();
    std::fs::write(store.blob_path(&digest), b"damaged").unwrap();
    assert!(matches!(store.read_blob(&digest, 100), Err(StoreError::Damaged { .. })));
    assert_eq!(check(&store, true).unwrap().len(), 1);
    assert_eq!(check(&store, false).unwrap(), []);
    // What a power cut emptied is written anew.
    std::fs::write(store.blob_path(&digest), b"").unwrap();
    store.write_blob(b"content").unwrap();
    assert_eq!(store.read_blob(&digest, 100).unwrap().as_deref(), Some(&b"content"[..]));
    assert!(matches!(store.read_blob(&digest, 6), Err(StoreError::Damaged { .. })));
    std::fs::write(store.oci_layout().join("index.json"), "{").unwrap();
    assert!(matches!(store.images(), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_check_finds_what_is_missing() {
    let (_dir, store) = store();
    let name: Reference = "app:1".parse().unwrap();
    store.name_image(&[name], &Descriptor::of("", b"nowhere")).unwrap();
    let held = layer(&store, None, "x");
    std::fs::remove_file(held.tree().parent().unwrap().join("meta.json")).unwrap();
    std::fs::write(store.root().join("records").join("0".repeat(64)), "x").unwrap();
    std::fs::write(store.root().join("records").join("why-0"), "x").unwrap();
    let problems: Vec<String> = check(&store, true).unwrap().into_iter().map(|finding| finding.problem).collect();
    assert_eq!(
        problems,
        [
            "an image names it, but it is missing",
            "it is missing",
            "it is no record; the step it was for will run again"
        ]
    );
}

#[test]
fn a_layer_whose_name_is_taken_gives_way() {
    let (_dir, store) = store();
    let id = LayerId::of_chain(&Digest::of(b"chain"));
    let first = layer(&store, Some(id.clone()), "first");
    let second = layer(&store, Some(id.clone()), "second");
    assert_eq!(second.id, id);
    assert_eq!(std::fs::read(second.tree().join("f")).unwrap(), b"first");
    assert_eq!(std::fs::read_dir(store.root().join("tmp")).unwrap().count(), 0, "the second is removed");
    drop(first);
}

#[test]
fn a_held_layer_is_not_pruned() {
    let (_dir, store) = store();
    let held = layer(&store, None, "held");
    drop(layer(&store, None, "free"));
    let pending = store.new_layer().unwrap();
    let pruned = prune(&store, &all()).unwrap();
    assert_eq!(pruned.names.len(), 1, "{pruned:?}");
    assert!(held.tree().exists() && pending.tree().exists());
    let id = held.id.clone();
    drop(held);
    assert_eq!(prune(&store, &PruneOptions { dry_run: true, ..all() }).unwrap().names.len(), 1);
    assert!(store.hold_layer(&id).unwrap().is_some());
    prune(&store, &all()).unwrap();
    assert!(store.hold_layer(&id).unwrap().is_none());
}

#[test]
fn what_was_used_in_the_given_time_is_kept_with_its_layers() {
    let (_dir, store) = store();
    let ids: Vec<LayerId> = ["old", "young"].map(|content| layer(&store, None, content).id).to_vec();
    for (key, id) in [[1; 32], [2; 32]].iter().zip(&ids) {
        store.put_record(key, &Record::new(vec![id.clone()], 0, 0)).unwrap();
        let two_days = Duration::from_secs(48 * 3600);
        age(&store.root().join("records").join(hex::encode(key)), two_days);
        age(&store.layer_path(id), two_days);
    }
    // A hit is a use.
    let record = store.record(&[2; 32]).unwrap().unwrap();
    drop(store.hold_layers(&record.layers).unwrap().unwrap());
    let day = PruneOptions { older_than: Some(Duration::from_secs(24 * 3600)), ..PruneOptions::default() };
    assert_eq!(prune(&store, &day).unwrap().names, [format!("layer {}", ids[0].as_str())]);
    assert_eq!(store.record(&[1; 32]).unwrap(), None);
    assert!(store.record(&[2; 32]).unwrap().is_some() && store.hold_layer(&ids[1]).unwrap().is_some());
}

#[test]
fn blobs_of_images_stay_and_others_go_unless_builds_run() {
    let (_dir, store) = store();
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let config = Descriptor::of(crate::image::media_type::CONFIG, config);
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": []}).to_string();
    store.write_blob(br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#).unwrap();
    let top = store.write_blob(manifest.as_bytes()).unwrap();
    let name: Reference = "app:1".parse().unwrap();
    store
        .name_image(&[name], &Descriptor::new(crate::image::media_type::MANIFEST, top, manifest.len() as u64))
        .unwrap();
    let lone = store.write_blob(b"nobody's").unwrap();
    let other = Store::open(store.root()).unwrap();
    prune(&store, &all()).unwrap();
    assert!(store.has_blob(&lone, 8), "a build that runs may be about to name it");
    age(&store.blob_path(&lone), Duration::from_secs(7200));
    assert!(other.has_blob(&lone, 8));
    prune(&store, &all()).unwrap();
    assert!(store.has_blob(&lone, 8), "asking for it is a use");
    drop(other);
    assert_eq!(prune(&store, &all()).unwrap().names, [format!("blob {lone}")]);
    assert!(
        store.has_blob(&top, manifest.len() as u64)
            && store.has_blob(&config.digest, config.size_bytes)
            && !store.has_blob(&lone, 8)
    );
    // The store is open to others again.
    assert!(Store::open(store.root()).is_ok());
}

#[test]
fn a_foreign_or_world_writable_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("others may write to it (mode 0777)"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was put there");
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("it belongs to user 12345"), "{error}");
    }
}

#[test]
fn two_writers_of_one_blob_both_succeed() {
    let (_dir, store) = store();
    let content = vec![7; 1 << 20];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut writer = store.blob_writer().unwrap();
                std::io::Write::write_all(&mut writer, &content).unwrap();
                store.commit_blob(writer).unwrap();
                store.write_blob(&content).unwrap();
            });
        }
    });
    assert_eq!(check(&store, true).unwrap(), []);
    assert_eq!(std::fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn names_given_side_by_side_are_all_there() {
    let (_dir, store) = store();
    let descriptor = Descriptor::of("", b"");
    std::thread::scope(|scope| {
        for n in 0..16 {
            let (store, descriptor) = (&store, &descriptor);
            scope.spawn(move || store.name_image(&[format!("app:{n}").parse().unwrap()], descriptor).unwrap());
        }
    });
    assert_eq!(store.images().unwrap().len(), 16);
}

#[test]
fn layers_are_made_and_pruned_side_by_side() {
    let (_dir, store) = store();
    let id = LayerId::of_chain(&Digest::of(b"chain"));
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let builders: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let held = match store.hold_layer(&id).unwrap() {
                            Some(held) => held,
                            None => layer(&store, Some(id.clone()), "x"),
                        };
                        // Whatever prunes do beside this, what is held is there.
                        assert_eq!(std::fs::read(held.tree().join("f")).unwrap(), b"x");
                        assert!(held.meta().is_ok());
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    prune(&store, &all()).unwrap();
                }
            });
        }
        let results: Vec<_> = builders.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
}

#[test]
fn a_shared_mount_is_for_all_and_a_locked_one_for_one() {
    let (_dir, store) = store();
    let mut first = store.shared_mount("id").unwrap();
    assert!(first.is_new);
    first.mark_filled().unwrap();
    let second = store.shared_mount("id").unwrap();
    assert!(!second.is_new && second.path() == first.path());
    let (waits, waited) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let locked = scope.spawn(|| store.locked_mount("id", || waits.send(()).unwrap()).unwrap());
        waited.recv().unwrap();
        drop((first, second));
        assert!(!locked.join().unwrap().is_new);
    });
}

#[test]
fn private_mounts_are_apart_and_used_again() {
    let (_dir, store) = store();
    let first = store.private_mount("id").unwrap();
    let second = store.private_mount("id").unwrap();
    let (one, two) = (first.path(), second.path());
    assert_ne!(one, two);
    drop(first);
    assert_eq!(store.private_mount("id").unwrap().path(), one);
    assert!(
        one.starts_with(store.root().join("mounts"))
            && store.private_mount("../../x").unwrap().path().starts_with(store.root().join("mounts"))
    );
}

#[test]
fn a_mount_that_is_reset_or_pruned_stays_with_who_uses_it() {
    let (_dir, store) = store();
    let mut held = store.shared_mount("id").unwrap();
    held.mark_filled().unwrap();
    std::fs::write(held.path().join("f"), "kept").unwrap();
    prune(&store, &all()).unwrap();
    assert!(held.path().join("f").exists());
    let open = File::open(held.path()).unwrap();
    store.reset_mount("id").unwrap();
    let fresh = store.shared_mount("id").unwrap();
    assert!(fresh.is_new && !fresh.path().join("f").exists());
    let old = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open)));
    assert_eq!(std::fs::read(old.join("f")).unwrap(), b"kept");
    drop(held);
    prune(&store, &PruneOptions::default()).unwrap();
    assert_eq!(std::fs::read_dir(store.root().join("mounts")).unwrap().count(), 1, "the old one is gone");
}

#[test]
fn a_lock_is_on_what_stands_at_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    std::fs::create_dir(&path).unwrap();
    let held = try_lock(&path, Mode::Shared).unwrap().unwrap();
    assert!(try_lock(&path, Mode::Exclusive).unwrap().is_none());
    std::fs::rename(&path, dir.path().join("away")).unwrap();
    assert_eq!(try_lock(&path, Mode::Shared).unwrap_err().kind(), io::ErrorKind::NotFound);
    std::fs::create_dir(&path).unwrap();
    assert!(try_lock(&path, Mode::Exclusive).unwrap().is_some());
    drop(held);
}

#[test]
fn two_opens_of_one_store_do_not_wait_for_each_other() {
    let (_dir, store) = store();
    let again = Store::open(store.root()).unwrap();
    assert_eq!(again.images().unwrap(), []);
    assert!(again.presence.try_lock().is_err(), "the first is still there");
}
