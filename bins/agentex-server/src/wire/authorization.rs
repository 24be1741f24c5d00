use std::sync::Arc;

use agentex::authz::{Authenticator, NoAuthentication};
use agentex::{Authorization, AuthorizationLimits};

use crate::config::{Authn, Backend, Config};

/// The configured backend with the configured authentication. Connects nothing.
pub(super) fn authorization(config: &Config) -> anyhow::Result<Authorization> {
    let authn = authenticator(config)?;
    let authorization = match &config.authorization.backend {
        Backend::Disabled => return Ok(Authorization::disabled()),
        Backend::Local => Authorization::local(authn),
        #[cfg(feature = "sgp")]
        Backend::Http { url } => {
            let wire = wire(config, url);
            let max_list_ids = config.authorization.max_list_ids;
            let options = agentex::sgp::ProviderOptions { max_list_ids, ..agentex::sgp::ProviderOptions::at(wire) };
            Authorization::provider(options, authn)
        }
        #[cfg(feature = "sgp")]
        Backend::Sgp(legacy) => Authorization::sgp(sgp(config, legacy), authn),
        #[cfg(feature = "spark")]
        Backend::Spark(options) => Authorization::spark(spark(config, options), authn),
        #[cfg(all(feature = "sgp", feature = "spark"))]
        Backend::Routed { legacy, spark: options, shadow_sample } => {
            use agentex::authz::router::{RouterSettings, Shadow};
            let shadow = (*shadow_sample > 0.0)
                .then_some(Shadow { sample: *shadow_sample, deadline: config.authorization.timeout });
            let routed = agentex::Routed {
                legacy: sgp(config, legacy),
                spark: spark(config, options),
                router: RouterSettings { shadow, ..RouterSettings::default() },
                rollout: None,
            };
            Authorization::routed(routed, authn)
        }
        #[cfg(not(all(feature = "sgp", feature = "spark")))]
        _ => anyhow::bail!("this build does not have the configured authorization backend"),
    };
    let timeout = config.authorization.timeout;
    Ok(authorization.limits(AuthorizationLimits { timeout, ..AuthorizationLimits::default() }))
}

/// Who says who is calling.
pub(crate) fn authenticator(config: &Config) -> anyhow::Result<Arc<dyn Authenticator>> {
    Ok(match &config.authorization.authn {
        Authn::Nobody => Arc::new(NoAuthentication),
        Authn::Tokens(tokens) => Arc::clone(tokens) as Arc<dyn Authenticator>,
        #[cfg(feature = "sgp")]
        Authn::Provider { url, forward } => {
            use agentex::sgp::{AuthenticatorOptions, Forward, ProviderAuthenticator};
            let forward = if forward.is_empty() { Forward::All } else { Forward::Only(forward.clone()) };
            // Errors are told apart here; whether callers may tell them apart is up to the use case.
            let options = AuthenticatorOptions { forward, ..AuthenticatorOptions::at(wire(config, url)) };
            Arc::new(ProviderAuthenticator::new(options)?)
        }
        #[cfg(feature = "oidc")]
        Authn::Oidc(oidc) => {
            let total_timeout = config.authorization.timeout;
            let settings = agentex::oidc::OidcSettings { total_timeout, ..oidc.settings() };
            Arc::new(agentex::oidc::OidcAuthenticator::new(settings)?)
        }
        #[cfg(not(all(feature = "sgp", feature = "oidc")))]
        _ => anyhow::bail!("this build does not have the configured authentication"),
    })
}

#[cfg(feature = "sgp")]
fn wire(config: &Config, url: &str) -> agentex::sgp::WireOptions {
    /// What an id takes in an answer, generously.
    const BYTES_PER_ID: usize = 160;
    let defaults = agentex::sgp::WireOptions::to(url);
    agentex::sgp::WireOptions {
        connect_timeout: defaults.connect_timeout.min(config.authorization.timeout),
        total_timeout: config.authorization.timeout,
        max_answer_bytes: defaults.max_answer_bytes.max(config.authorization.max_list_ids.saturating_mul(BYTES_PER_ID)),
        ..defaults
    }
}

#[cfg(feature = "sgp")]
fn sgp(config: &Config, legacy: &crate::config::Legacy) -> agentex::sgp::SgpOptions {
    use agentex::sgp::{SgpOptions, SgpRegister};
    SgpOptions {
        register: if legacy.registers { SgpRegister::Alias } else { SgpRegister::Noop },
        max_list_ids: config.authorization.max_list_ids,
        ..SgpOptions::at(wire(config, &legacy.url))
    }
}

#[cfg(feature = "spark")]
fn spark(config: &Config, options: &crate::config::Spark) -> agentex::SparkOptions {
    let crate::config::Spark { endpoint, token, write_schema } = options;
    let settings = agentex::spark::SparkSettings {
        token: token.clone(),
        timeout: config.authorization.timeout,
        max_list_ids: config.authorization.max_list_ids,
        ..agentex::spark::SparkSettings::new(endpoint.as_str())
    };
    agentex::SparkOptions { settings, write_schema: *write_schema }
}
