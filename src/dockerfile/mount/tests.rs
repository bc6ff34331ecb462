#![allow(clippy::unwrap_used)]

use super::*;

fn mount(raw: &str) -> Result<Mount, MountError> {
    parse_mount(raw, &mut |value| Ok(value.replace("$x", "cache")))
}

fn message(raw: &str) -> String {
    mount(raw).unwrap_err().to_string()
}

#[test]
fn a_bind_mount_is_the_default() {
    let want = Mount {
        kind: MountKind::Bind { from: Some("build".into()), source: "/".into() },
        target: "/x".into(),
        read_only: None,
    };
    assert_eq!(mount("from=build,dst=/x").unwrap(), want);
    assert_eq!(mount("target=/x,rw,from=build").unwrap(), Mount { read_only: Some(false), ..want });
}

#[test]
fn values_are_expanded_keys_are_not() {
    let kind = MountKind::Cache {
        id: Some("cache".into()),
        sharing: Sharing::Locked,
        from: None,
        source: None,
        mode: Some(0o755),
        uid: Some(7),
        gid: Some(8),
    };
    let raw = "ID=$x,mode=0755,uid=7,gid=8,sharing=LOCKED,\"target=/a,b\",type=$x";
    assert_eq!(mount(raw).unwrap(), Mount { kind, target: "/a,b".into(), read_only: None });
}

#[test]
fn secrets_and_agents_have_their_keys() {
    let Mount { kind: MountKind::Secret { id, required, env, .. }, .. } =
        mount("required,type=secret,src=npm,env=TOKEN").unwrap()
    else {
        panic!("no secret")
    };
    assert_eq!((id.as_deref(), required, env.as_deref()), (Some("npm"), true, Some("TOKEN")));
    assert!(matches!(mount("type=ssh,required=0").unwrap().kind, MountKind::Ssh { id: None, required: false, .. }));
    assert_eq!(mount("type=tmpfs,target=/t,size=1.5k").unwrap().kind, MountKind::Tmpfs { size_bytes: Some(1536) });
}

#[test]
fn what_is_wrong_is_told_with_its_key() {
    for (raw, want) in [
        ("", "the value is empty"),
        ("type=cahce", "unsupported mount type `cahce`, did you mean `cache`?"),
        ("tpye=cache", "unexpected key `tpye` in `tpye=cache`, did you mean `type`?"),
        ("target", "invalid field `target`, it must be a `key=value` pair"),
        ("type=cache,sharing=locke", "unsupported sharing value `locke`, did you mean `locked`?"),
        ("type=cache,mode=999", "invalid value for `mode`: `999` is not an octal mode"),
        ("type=cache,uid=+1", "invalid value for `uid`: `+1` is not a number"),
        ("size=5", "unexpected key `size` for mount type `bind`"),
        ("uid=5", "unexpected key `uid` for mount type `bind`"),
        ("required", "unexpected key `required` for mount type `bind`"),
        ("sharing=shared", "unexpected key `sharing` for mount type `bind`"),
        ("type=secret", "invalid secret mount: one of `id`, `source` and `target` is required"),
        ("type=secret,id=a,source=b", "both `source` and `id` can't be set"),
        ("type=secret,id=a,from=b", "unexpected key `from` for mount type `secret`"),
        ("ro=yes", "invalid value for `ro`: `yes` is not `true` or `false`"),
        ("from=$x", "`from` doesn't support variable expansion: `$x`"),
        ("a\"b", "misplaced or unclosed quote in `a\"b`"),
        ("\"a=b", "misplaced or unclosed quote in `\"a=b`"),
    ] {
        assert_eq!(message(raw), want, "{raw}");
    }
}

#[test]
fn sizes_have_binary_units() {
    for (value, want) in [
        ("1", Some(1)),
        ("2k", Some(2048)),
        ("2 KiB", Some(2048)),
        ("2KB", Some(2048)),
        ("1g", Some(1 << 30)),
        ("7b", Some(7)),
        ("7ib", None),
        ("", None),
        ("k", None),
        ("-1", None),
        ("1.2.3", None),
        ("1x", None),
        ("1e3", None),
        ("9999999999p", None),
    ] {
        assert_eq!(size("size", value).ok(), want, "{value:?}");
    }
}

#[test]
fn a_device_is_a_name_and_a_wish() {
    let device = Device { name: "vendor.com/class=gpu".into(), required: true };
    assert_eq!(parse_device("vendor.com/class=gpu,required").unwrap(), device);
    assert_eq!(parse_device("name=vendor.com/class=gpu,required=true").unwrap(), device);
    assert!(parse_device("name=a,name=b").is_err());
    assert!(parse_device("a,b").is_err());
    assert!(parse_device("a,requird=1").is_err());
}
