//! What no option can check by itself: whether they agree with one another.

use crate::options::{Config, Nri, Runtime, Streaming};

/// The first disagreement, with the option to mend.
pub(crate) fn check(config: &Config) -> Result<(), String> {
    runtime(&config.runtime)?;
    nri(&config.nri)?;
    streaming(&config.streaming)
}

fn runtime(runtime: &Runtime) -> Result<(), String> {
    let Runtime { default, handlers, .. } = runtime;
    if handlers.is_empty() || handlers.contains_key(default) {
        return Ok(());
    }
    let known = handlers.keys().cloned().collect::<Vec<_>>().join(", ");
    Err(format!("runtime.default: `{default}` is none of the handlers ({known})"))
}

fn nri(nri: &Nri) -> Result<(), String> {
    match nri {
        Nri { enable: false, required_plugins, .. } if !required_plugins.is_empty() => {
            Err("nri.required_plugins: none can be there while nri.enable is off".into())
        }
        _ => Ok(()),
    }
}

fn streaming(streaming: &Streaming) -> Result<(), String> {
    let Streaming { tls_cert_file: cert, tls_key_file: key, tls_client_ca_file: authorities, .. } = streaming;
    match (cert, key, authorities) {
        (Some(_), Some(_), _) | (None, None, None) => Ok(()),
        (Some(_), None, _) => {
            Err("streaming.tls_cert_file: TLS needs its key, too: set streaming.tls_key_file".into())
        }
        (None, Some(_), _) => {
            Err("streaming.tls_key_file: TLS needs its certificate, too: set streaming.tls_cert_file".into())
        }
        (None, None, Some(_)) => Err(
            "streaming.tls_client_ca_file: clients show certificates in TLS only: set streaming.tls_cert_file and \
             streaming.tls_key_file"
                .into(),
        ),
    }
}
