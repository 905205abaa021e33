use super::{RPCS, v1};

#[test]
fn all_rpcs_of_the_protocol_are_there() {
    let of = |service: &str| RPCS.iter().filter(|rpc| rpc.service == service).count();
    assert_eq!((of("RuntimeService"), of("ImageService")), (37, 6));
    assert_eq!(RPCS.iter().filter(|rpc| rpc.streaming).count(), 7, "six Stream RPCs and GetContainerEvents");
}

#[test]
fn credentials_are_not_shown() {
    let auth = v1::AuthConfig {
        username: "user-secret".into(),
        password: "secret".into(),
        auth: "secret".into(),
        server_address: "registry.example".into(),
        identity_token: "secret".into(),
        registry_token: "secret".into(),
    };
    let shown = format!("{:?}", v1::PullImageRequest { auth: Some(auth), ..Default::default() });
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("registry.example"), "{shown}");
}
