//! Every form of an image's `USER`, with each runtime: who runs is who ContainerStatus and ImageStatus say, or nobody.

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::images::layout::Layout;
use linkspan_tests::images::tar::Entry;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests, tools};
use serde_json::json;
use tonic::Code;

use super::value;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
1000:x:0:0:root by a name of digits:/root:/bin/sh
4294967295:x:0:0:likewise:/root:/bin/sh
-1:x:0:0:likewise:/root:/bin/sh
app:x:1001:1002::/:/bin/sh
two words:x:1003:1003::/:/bin/sh
odd.name-$:x:1004:1004::/:/bin/sh
no-id:x:4294967295:0::/:/bin/sh
too-large:x:4294967296:0::/:/bin/sh
negative:x:-1:0::/:/bin/sh
word:x:root:0::/:/bin/sh
no-group:x:1005:4294967295::/:/bin/sh
member:x:1006:1006::/:/bin/sh
";
const GROUP: &str = "root:x:0:
100:x:0:
main:x:300:
extra:x:500:app
no-id:x:4294967295:member
negative:x:-1:
";

enum Expected {
    /// User, group, and all groups.
    Runs(i64, i64, &'static [i64]),
    /// InvalidArgument, with these words.
    Refused(&'static str),
}

use Expected::{Refused, Runs};

const CASES: [(&str, Expected); 36] = [
    ("", Runs(0, 0, &[0])),
    ("0", Runs(0, 0, &[0])),
    ("00", Runs(0, 0, &[0])),
    ("1000", Runs(1000, 0, &[0])),
    ("1000:", Runs(1000, 0, &[0])),
    ("1000:1000", Runs(1000, 1000, &[1000])),
    ("1000:main", Runs(1000, 300, &[300])),
    ("1000:100", Runs(1000, 100, &[100])),
    ("1001", Runs(1001, 1002, &[500, 1002])),
    ("app", Runs(1001, 1002, &[500, 1002])),
    ("app:", Runs(1001, 1002, &[500, 1002])),
    ("app:main", Runs(1001, 300, &[300, 500])),
    ("app:100", Runs(1001, 100, &[100, 500])),
    (":main", Runs(0, 300, &[300])),
    ("no-group:7", Runs(1005, 7, &[7])),
    ("two words", Runs(1003, 1003, &[1003])),
    ("odd.name-$", Runs(1004, 1004, &[1004])),
    ("2147483647:2147483647", Runs(2_147_483_647, 2_147_483_647, &[2_147_483_647])),
    ("-1", Refused("the image's user: \"-1\"")),
    ("+5", Refused("the image's user: \"+5\"")),
    ("4294967295", Refused("the image's user: \"4294967295\"")),
    ("4294967296", Refused("the image's user: \"4294967296\"")),
    ("99999999999999", Refused("the image's user: \"99999999999999\"")),
    ("99999999999999999999", Refused("the image's user: \"99999999999999999999\"")),
    ("1000:4294967295", Refused("the image's user: \"4294967295\"")),
    ("app:-1", Refused("the image's user: \"-1\"")),
    ("no-id", Refused("the image's /etc/passwd: of \"no-id\", \"4294967295\"")),
    ("too-large", Refused("the image's /etc/passwd: of \"too-large\", \"4294967296\"")),
    ("negative", Refused("the image's /etc/passwd: of \"negative\", \"-1\"")),
    ("word", Refused("the image's /etc/passwd: of \"word\", \"root\"")),
    ("no-group", Refused("the image's /etc/passwd: of \"no-group\", \"4294967295\"")),
    ("app:no-id", Refused("the image's /etc/group: of \"no-id\", \"4294967295\"")),
    ("app:negative", Refused("the image's /etc/group: of \"negative\", \"-1\"")),
    ("member", Refused("the image's /etc/group: of \"no-id\", \"4294967295\"")),
    (" app", Refused("no user named \" app\"")),
    ("app:no such", Refused("no group named \"no such\"")),
];

fn image_name(index: usize) -> String {
    format!("registry.linkspan.test/users:case-{index}")
}

async fn load_images(node: &Node) -> Result<()> {
    let mut layout = Layout::create(&node.prefix().join("layout"))?;
    let layer = layout.layer(&[
        Entry::copy("bin/busybox", 0o755, tools::busybox()),
        Entry::file("etc/passwd", 0o644, PASSWD),
        Entry::file("etc/group", 0o644, GROUP),
    ])?;
    for (index, (user, _)) in CASES.iter().enumerate() {
        layout.image(&image_name(index), &[&layer], &json!({ "User": user }))?;
    }
    node.load(&layout.finish()?).await
}

fn container(name: String, image: &str) -> v1::ContainerConfig {
    let mut config = requests::container(&name, &["/bin/busybox", "sleep", "1000"]);
    config.image = Some(requests::image(image));
    config
}

/// User, group and sorted groups of a container's first process and of one that is exec'd, which must be the same, by
/// the kernel's word.
async fn seen(node: &mut Node, id: &str) -> Result<(i64, i64, Vec<i64>)> {
    let command =
        ["/bin/busybox", "grep", "-hE", "^(Uid|Gid|Groups):", "/proc/1/status", "/proc/self/status"];
    let said = node.output(id, &command).await?;
    let lines: Vec<Vec<i64>> = said
        .lines()
        .map(|line| line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>())
        .collect::<Result<_, _>>()?;
    let [uids, gids, groups, exec @ ..] = lines.as_slice() else { anyhow::bail!("{said}") };
    ensure!(exec == [uids.clone(), gids.clone(), groups.clone()], "an exec is somebody else: {said}");
    let [uid, gid] = [uids, gids].map(|ids| ids[0]);
    ensure!(uids == &[uid; 4] && gids == &[gid; 4], "{said}");
    Ok((uid, gid, sorted(groups, gid)))
}

fn sorted(groups: &[i64], gid: i64) -> Vec<i64> {
    let mut groups: Vec<i64> = groups.iter().copied().chain([gid]).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

async fn who_runs(node: &mut Node, handler: &str) -> Result<()> {
    load_images(node).await?;
    let sandbox = requests::sandbox(node, handler);
    let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
    for (index, (user, expected)) in CASES.iter().enumerate() {
        let what = || format!("USER {user:?} with {handler}");
        let image = node.image(&image_name(index)).await?.context("the image")?;
        let of_image = (image.uid.map(|uid| uid.value), image.username.as_str());
        let config = container(format!("c{index}"), &image_name(index));
        let created = node.create(&sandbox_id, &config, &sandbox).await;
        let (uid, gid, groups) = match expected {
            Runs(uid, gid, groups) => (*uid, *gid, groups.to_vec()),
            Refused(words) => {
                let refused = created.err().with_context(|| format!("{} was taken", what()))?;
                assert_eq!(refused.code(), Code::InvalidArgument, "{}: {refused}", what());
                assert!(refused.message().contains(words), "{}: {refused}", what());
                continue;
            }
        };
        let id = created.with_context(what)?;
        node.start_container(&id).await.with_context(what)?;
        assert_eq!(seen(node, &id).await.with_context(what)?, (uid, gid, groups.clone()), "{}", what());
        let told = node.container_status(&id).await?.user.and_then(|user| user.linux).context("a user")?;
        let told = (told.uid, told.gid, sorted(&told.supplemental_groups, told.gid));
        assert_eq!(told, (uid, gid, groups), "{}: ContainerStatus", what());
        let name = user.split(':').next().unwrap_or_default();
        let expected = name.parse().map_or((None, name), |_: i64| (Some(uid), ""));
        assert_eq!(of_image, expected, "{}: ImageStatus", what());
        node.remove_container(&id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_runs_is_who_the_statuses_say() {
    need!(Runc);
    node::run(async |node| {
        who_runs(node, "crun").await?;
        who_runs(node, "runc").await
    })
    .await;
}

#[tokio::test]
async fn who_runs_by_youki_is_who_the_statuses_say() {
    need!(Youki);
    let runtimes = vec![("youki".to_owned(), tools::youki())];
    node::with(Options { runtimes, ..Options::default() }, async |node| who_runs(node, "youki").await).await;
}

/// It asks for the user that ImageStatus told, and lets `runAsNonRoot` pass if that is a number other than 0.
#[tokio::test]
async fn what_a_kubelet_makes_of_an_images_user_is_who_runs() {
    need!();
    node::run(async |node| {
        load_images(node).await?;
        let sandbox = requests::sandbox(node, "kubelet");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        for (index, (user, expected)) in CASES.iter().enumerate() {
            let image = node.image(&image_name(index)).await?.context("the image")?;
            let mut config = container(format!("c{index}"), &image_name(index));
            let security = requests::security(&mut config);
            match (image.uid, image.username.as_str()) {
                (Some(uid), _) => security.run_as_user = Some(uid),
                (None, "") => security.run_as_user = value(0),
                (None, name) => security.run_as_username = name.to_owned(),
            }
            let passes_as_no_root = image.uid.is_some_and(|uid| uid.value != 0);
            match (node.create(&sandbox_id, &config, &sandbox).await, expected) {
                (Ok(id), Runs(uid, ..)) => {
                    node.start_container(&id).await?;
                    assert_eq!(seen(node, &id).await?.0, *uid, "USER {user:?}");
                    assert!(*uid != 0 || !passes_as_no_root, "USER {user:?}");
                    node.remove_container(&id).await?;
                }
                // A group beside the user is no matter any more: the kubelet leaves it out.
                (Ok(id), Refused(_)) => {
                    node.start_container(&id).await?;
                    let uid = seen(node, &id).await?.0;
                    assert!(user.contains(':') && uid != 0, "USER {user:?} runs as {uid}");
                    node.remove_container(&id).await?;
                }
                (Err(refused), _) => {
                    assert!(matches!(expected, Refused(_)) || user.contains(':'), "USER {user:?}: {refused}");
                    assert_eq!(refused.code(), Code::InvalidArgument, "USER {user:?}: {refused}");
                    assert!(!passes_as_no_root, "USER {user:?}");
                }
            }
        }
        Ok(())
    })
    .await;
}
