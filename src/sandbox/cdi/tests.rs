#![allow(clippy::unwrap_used)]

use super::{DeviceNode, Devices};
use std::path::Path;

const VENDOR: &str = r#"{"cdiVersion": "0.6.0", "kind": "vendor.com/dev",
    "annotations": {"org.mobyproject.buildkit.device.class": "vendor.class"},
    "containerEdits": {"env": ["ALL=1"]},
    "devices": [
        {"name": "b", "containerEdits": {"env": ["B=x=y"], "additionalGids": [0, 7]}},
        {"name": "a", "annotations": {"org.mobyproject.buildkit.device.autoallow": "true"},
         "containerEdits": {"deviceNodes": [{"path": "/dev/a", "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3}]}}
    ]}"#;

fn devices(files: &[(&str, &str)]) -> Devices {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    Devices::read(&[directory.path().join("one"), directory.path().join("two"), "/nowhere".into()])
}

#[test]
fn a_name_stands_for_one_the_first_or_all_of_a_class() {
    let devices = devices(&[("one/vendor.json", VENDOR)]);
    assert!(devices.problems().is_empty(), "{:?}", devices.problems());
    let both = ["vendor.com/dev=a", "vendor.com/dev=b"];
    let none: [&str; 0] = [];
    assert_eq!(devices.find("vendor.com/dev=b"), ["vendor.com/dev=b"]);
    assert_eq!(devices.find("vendor.com/dev"), ["vendor.com/dev=a"]);
    assert_eq!(devices.find("vendor.com/dev=*"), both);
    assert_eq!(devices.find("vendor.class"), both);
    for unknown in ["vendor.com/dev=c", "vendor.com/other", "vendor.com", "", "=", "vendor.com/de=*"] {
        assert_eq!(devices.find(unknown), none, "{unknown}");
    }
    assert!(devices.is_auto_allowed("vendor.com/dev=a") && !devices.is_auto_allowed("vendor.com/dev=b"));
}

#[test]
fn what_all_devices_of_a_specification_need_is_added_once() {
    let devices = devices(&[("one/vendor.json", VENDOR)]);
    let edits = devices.edits(&devices.find("vendor.com/dev=*"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(edits.env, [pair("ALL", "1"), pair("B", "x=y")]);
    assert_eq!(edits.additional_gids, [7]);
    let node = DeviceNode {
        path: "/dev/a".into(),
        host_path: "/dev/null".into(),
        number: Some((false, 1, 3)),
        mode: None,
        uid: None,
        gid: None,
    };
    assert_eq!(edits.nodes, [node]);
    assert!(edits.refused.is_empty());
}

#[test]
fn a_specification_in_yaml_says_the_same() {
    let text = "---\ncdiVersion: \"0.6.0\"\nkind: vendor.com/dev\ndevices:\n- name: \"0\"\n  containerEdits:\n    \
                deviceNodes:\n    - path: /dev/x\n      fileMode: 0660\n    mounts:\n    - hostPath: /usr/lib\n      \
                containerPath: /lib/x\n      options: [ro, nosuid, rbind, rprivate]\n    hooks:\n    - hookName: \
                createContainer\n      path: /usr/bin/hook\n      args: [hook, ldcache]\n";
    let devices = devices(&[("two/vendor.yaml", text)]);
    assert!(devices.problems().is_empty(), "{:?}", devices.problems());
    let edits = devices.edits(&["vendor.com/dev=0".into()]);
    assert_eq!((edits.nodes[0].mode, edits.nodes[0].host_path.as_path()), (Some(0o660), Path::new("/dev/x")));
    assert!(edits.mounts[0].read_only && edits.mounts[0].is_recursive);
    assert_eq!(edits.refused, ["device `vendor.com/dev=0` asks for the `createContainer` hook `/usr/bin/hook`"]);
}

#[test]
fn later_directories_win_and_conflicts_in_one_make_a_device_unknown() {
    let two = VENDOR.replace("B=x=y", "B=two");
    let later = devices(&[("one/vendor.json", VENDOR), ("two/vendor.json", &two)]);
    assert_eq!(later.edits(&["vendor.com/dev=b".into()]).env[1].1, "two");
    let same = devices(&[("one/1.json", VENDOR), ("one/2.json", &two)]);
    assert_eq!(same.names().count(), 0);
    assert!(same.problems()[0].starts_with("device `vendor.com/dev=b` is in `"), "{:?}", same.problems());
    let mended = devices(&[("one/1.json", VENDOR), ("one/2.json", &two), ("two/3.json", VENDOR)]);
    assert_eq!(mended.names().count(), 2);
}

#[test]
fn a_specification_that_is_wrong_is_left_out_and_named() {
    let cases = [
        ("{", "EOF while parsing"),
        (r#"{"cdiVersion": "9.0.0", "kind": "v/c", "devices": []}"#, "unknown `cdiVersion`: `9.0.0`"),
        (r#"{"cdiVersion": "1.0.0", "kind": "1/c", "devices": []}"#, "`kind` is not `vendor/class`: `1/c`"),
        (r#"{"cdiVersion": "1.0.0", "kind": "v/c", "devices": []}"#, "it has no devices"),
        (r#"{"cdiVersion": "1.0.0", "kind": "v/c", "devices": [{"name": "a"}]}"#, "device `a` has no `containerEdits`"),
        (r#"{"cdiVersion": "1.0.0", "kind": "v/c", "more": 1, "devices": []}"#, "unknown field `more`"),
        (
            r#"{"cdiVersion": "1.0.0", "kind": "v/c", "devices": [{"name": "a", "containerEdits": {"env": ["=x"]}}]}"#,
            "device `a`: invalid environment variable: `=x`",
        ),
    ];
    for (text, expected) in cases {
        let devices = devices(&[("one/wrong.json", text), ("one/vendor.json", VENDOR)]);
        assert_eq!(devices.names().count(), 2, "{text}");
        assert!(devices.problems()[0].contains(expected), "{text}: {:?}", devices.problems());
    }
}

#[test]
fn a_document_that_grows_when_it_is_read_is_refused() {
    let mut text = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 'b'..='l' {
        let below = char::from(level as u8 - 1);
        text.push_str(&format!("{level}: &{level} [{}]\n", vec![format!("*{below}"); 10].join(", ")));
    }
    let devices = devices(&[("one/bomb.yaml", &text)]);
    assert_eq!(devices.problems().len(), 1);
}
