//! Whom a container runs as: what Status tells, what is kept of capabilities, what is refused.

mod of_images;

use linkspan_cri_api::v1;
use linkspan_tests::{need, node, requests};
use tonic::Code;

fn value(value: i64) -> Option<v1::Int64Value> {
    Some(v1::Int64Value { value })
}

#[tokio::test]
async fn status_tells_the_user_that_really_runs() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "users");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        type Change = fn(&mut v1::LinuxContainerSecurityContext);
        type Case = (&'static str, Change, (i64, i64), &'static [i64]);
        // Of the image: user 1000 is a member of group 50000, www-data of nothing but 33.
        let cases: [Case; 5] = [
            ("image", |_| {}, (0, 0), &[0]),
            ("name", |c| c.run_as_username = "www-data".into(), (33, 33), &[33]),
            (
                "merge",
                |c| {
                    c.run_as_user = value(1000);
                    c.supplemental_groups = vec![1234];
                },
                (1000, 1000),
                &[1000, 1234, 50000],
            ),
            (
                "strict",
                |c| {
                    c.run_as_user = value(1000);
                    c.supplemental_groups = vec![1234];
                    c.supplemental_groups_policy = v1::SupplementalGroupsPolicy::Strict.into();
                },
                (1000, 1000),
                &[1000, 1234],
            ),
            (
                "group",
                |c| {
                    c.run_as_user = value(4321);
                    c.run_as_group = value(77);
                },
                (4321, 77),
                &[77],
            ),
        ];
        for (name, change, ids, groups) in cases {
            let mut config = requests::idle(name);
            change(requests::security(&mut config));
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let user = node.container_status(&id).await?.user.unwrap().linux.unwrap();
            assert_eq!((user.uid, user.gid), ids, "{name}");
            let (mut told, expected) = (user.supplemental_groups, groups.to_vec());
            told.push(user.gid);
            told.sort_unstable();
            told.dedup();
            assert_eq!(told, expected, "{name}");
            // And it is what the process has.
            let mut seen: Vec<i64> =
                node.shell(&id, "id -G").await?.split(' ').map(str::parse).collect::<Result<_, _>>()?;
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, expected, "{name}");
        }
        let status = node.runtime.status(v1::StatusRequest::default()).await?.into_inner();
        assert!(status.features.unwrap_or_default().supplemental_groups_policy);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn ambient_capabilities_reach_a_user_who_is_not_root() {
    need!(Runc);
    node::run(async |node| {
        for handler in ["crun", "runc"] {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let bind = |ambient: &[&str], name: &str| {
                let line = "grep -E '^Cap(Eff|Amb|Inh)' /proc/self/status | tr -d '\\t\\n'";
                let mut config = requests::container(name, &["sh", "-c", line]);
                let security = requests::security(&mut config);
                security.run_as_user = value(1000);
                security.capabilities = Some(v1::Capability {
                    drop_capabilities: vec!["ALL".into()],
                    add_ambient_capabilities: ambient.iter().map(ToString::to_string).collect(),
                    ..Default::default()
                });
                config
            };
            let net_bind_service = "0000000000000400";
            for (name, ambient, expected) in
                [("none", &[][..], "0000000000000000"), ("one", &["CAP_NET_BIND_SERVICE"], net_bind_service)]
            {
                let id = node.run_container(&sandbox_id, &bind(ambient, name), &sandbox).await?;
                let expected = format!("CapInh:{expected}CapEff:{expected}CapAmb:{expected}");
                assert_eq!(node.logged(&id).await?, expected, "{handler} {name}");
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn users_that_cannot_be_are_refused_with_their_field() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "refused");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        type Change = fn(&mut v1::LinuxContainerSecurityContext);
        let cases: [(&str, Change); 12] = [
            ("run_as_group", |c| c.run_as_group = value(7)),
            ("run_as_username", |c| {
                c.run_as_user = value(1);
                c.run_as_username = "nobody".into();
            }),
            ("run_as_user", |c| c.run_as_user = value(-1)),
            ("supplemental_groups[0]", |c| c.supplemental_groups = vec![1 << 32]),
            ("run_as_user", |c| c.run_as_user = value(4_294_967_295)),
            ("run_as_group", |c| {
                c.run_as_user = value(1);
                c.run_as_group = value(4_294_967_295);
            }),
            ("supplemental_groups[1]", |c| c.supplemental_groups = vec![1, 4_294_967_295]),
            ("run_as_username", |c| c.run_as_username = "4294967295".into()),
            ("run_as_username", |c| c.run_as_username = "4294967296:0".into()),
            ("run_as_username", |c| c.run_as_username = "-1".into()),
            ("user", |c| c.run_as_username = "no-such-user".into()),
            ("capabilities.add_capabilities", |c| {
                c.capabilities =
                    Some(v1::Capability { add_capabilities: vec!["CAP_FLY".into()], ..Default::default() });
            }),
        ];
        for (index, (field, change)) in cases.into_iter().enumerate() {
            let mut config = requests::idle(&format!("c{index}"));
            change(requests::security(&mut config));
            let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused:?}");
            assert!(refused.message().contains(field), "{field}: {refused:?}");
        }
        Ok(())
    })
    .await;
}
