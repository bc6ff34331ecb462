use super::super::graph::CopySource;
use super::*;
use rstest::rstest;

#[rstest]
#[case("COPY a .", "/w/")]
#[case("COPY a b", "/w/b")]
#[case("COPY a b/", "/w/b/")]
#[case("COPY a ../../b", "/b")]
#[case("COPY a /x/../y/.", "/y/")]
#[case("ENV D=/d\nCOPY a $D/", "/d/")]
#[case("COPY a \"\"", "/w/")]
fn destinations(#[case] text: &str, #[case] expected: &str) {
    let planned = plan_of(&format!("FROM busybox\nWORKDIR /w\n{text}\n"));
    assert_eq!(planned.copies()[0].destination, expected);
}

#[test]
fn all_flags_arrive_expanded() {
    let planned = plan_of(
        "FROM busybox\nARG U=7\nCOPY --link --parents --chown=$U:8 --chmod=u=rw --exclude=*.$U --exclude=b a$U [[]b /x/\n",
    );
    let copy = planned.copies()[0];
    assert_eq!((copy.chown.as_deref(), copy.chmod.as_deref()), (Some("7:8"), Some("u=rw")));
    assert_eq!((copy.link, copy.parents, copy.is_add), (false, true, false));
    assert_eq!(copy.exclude, ["*.7", "b"]);
    let patterns: Vec<&str> = copy
        .sources
        .iter()
        .map(|source| if let CopySource::Paths { pattern, .. } = source { pattern.as_str() } else { "?" })
        .collect();
    assert_eq!(patterns, ["a7", "[[]b"]);
}

#[test]
fn a_link_with_chmod_is_a_plain_copy() {
    for (flags, expected) in [("--link", true), ("--link --chown=1", true), ("--link --chmod=640", false)] {
        let planned = plan_of(&format!("FROM busybox\nCOPY {flags} a /b\n"));
        assert_eq!(planned.copies()[0].link, expected, "{flags}");
    }
}

#[test]
fn heredocs_are_expanded_unless_quoted() {
    let planned = plan_of("FROM busybox\nARG V=1\nCOPY <<A <<\"B\" /d/\n$V '\\$V'\nA\n$V\nB\n");
    let inline = |source: &CopySource| match source {
        CopySource::Inline { name, content } => (name.clone(), content.clone()),
        other => panic!("{other:?}"),
    };
    let found: Vec<_> = planned.copies()[0].sources.iter().map(inline).collect();
    assert_eq!(found, [("A".into(), "1 '$V'\n".into()), ("B".into(), "$V\n".into())]);
}

#[test]
fn add_tells_paths_downloads_and_repositories_apart() {
    let sum = format!("sha256:{}", "a".repeat(64));
    let text = format!(
        "FROM scratch\nADD a.tar /\nADD --unpack=true --checksum={sum} https://h/x /\nADD --keep-git-dir=true https://h/r.git#v1 /r\n"
    );
    let planned = plan_of(&text);
    let copies = planned.copies();
    assert!(matches!(&copies[0].sources[0], CopySource::Paths { pattern, .. } if pattern == "a.tar"));
    assert!(
        matches!(&copies[1].sources[0], CopySource::Http { checksum: Some(found), .. } if found.to_string() == sum)
    );
    assert_eq!((copies[0].unpack, copies[1].unpack), (None, Some(true)));
    assert!(matches!(&copies[2].sources[0], CopySource::Git { keep_git_dir: true, checksum: None, .. }));
}

#[rstest]
#[case("COPY --chmod=64a a b", "invalid mode in `--chmod`")]
#[case("COPY --chmod=u+q a b", "invalid mode in `--chmod`")]
#[case("ADD --chmod=10000 a b", "invalid mode in `--chmod`")]
#[case("ADD --checksum=sha256:1 a b", "`--checksum` requires an http(s) or Git source")]
#[case("ADD --checksum=md5:1 http://h/a b", "unsupported checksum or digest algorithm")]
#[case("COPY --chown=user a b", "invalid user: `user` cannot be looked up, the image has no files yet")]
#[case("COPY --link --chown=0:staff a b", "invalid user: `0:staff` cannot be looked up, the image has no files yet")]
#[case("ADD --chown=:staff a b", "invalid user: `:staff` cannot be looked up, the image has no files yet")]
#[case("COPY http://h/a b", "the source of COPY can't be a URL")]
#[case("COPY https://h/a.git b", "the source of COPY can't be a Git repository")]
fn mistakes(#[case] text: &str, #[case] expected: &str) {
    let error = Bench::new().error(&format!("FROM scratch\n{text}\n"));
    assert!(error.starts_with("Dockerfile:2:") && error.contains(expected), "{error}");
}

#[test]
fn a_link_does_not_know_the_names_of_the_image() {
    let error = Bench::new().error("FROM busybox\nCOPY --link --chown=user a b\n");
    assert!(error.starts_with("Dockerfile:2:21: invalid user with `--link`: `user` cannot be looked up"), "{error}");
}

#[rstest]
#[case("FROM busybox\nCOPY --chown=user a b\n")]
#[case("FROM busybox\nCOPY --link --chmod=600 --chown=user a b\n")]
#[case("FROM busybox\nCOPY --link --chown=root:5 a b\n")]
#[case("FROM scratch\nCOPY --chown=root:5 a b\n")]
#[case("FROM scratch\nCOPY a b\nCOPY --chown=user a b\n")]
fn names_are_looked_up_where_there_are_files(#[case] text: &str) {
    assert!(plan_of(text).copies().last().unwrap().chown.is_some());
}

#[test]
fn a_workdir_of_an_empty_image_needs_a_number_for_its_user() {
    let error = Bench::new().error("FROM scratch\nUSER user\nWORKDIR /w\n");
    assert!(error.starts_with("Dockerfile:3:") && error.contains("`user` cannot be looked up"), "{error}");
    plan_of("FROM scratch\nUSER 7\nWORKDIR /w\n");
}
