//! Who is calling and who may do what: the part of the configuration where a mistake opens a door. Everything that is
//! unclear is refused.

// Every backend and every way to authenticate is in them.
#[cfg(test)]
#[cfg(all(feature = "sgp", feature = "spark", feature = "oidc"))]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentex::app::{AgentScope, AuthorizationSettings, LinkRule, RegistrationAuth, RelaySettings};
use agentex::authz::{StaticToken, StaticTokens};
use serde::Deserialize;

use super::kind::{self, boolean};
use super::{Problem, Values, is_loopback};

/// How long a call may wait for its turn before its own time begins; see the defaults of the facade.
const QUEUE_WAIT: Duration = Duration::from_secs(1);

/// Who is calling and who may do what.
pub(crate) struct Authorization {
    pub(crate) backend: Backend,
    pub(crate) authn: Authn,
    /// `strict` or `compat`.
    pub(crate) profile: &'static str,
    /// Longest time for one call to the backend.
    pub(crate) timeout: Duration,
    /// More resources than this are no list but an error.
    pub(crate) max_list_ids: usize,
}

/// Who decides.
pub(crate) enum Backend {
    Disabled,
    Local,
    Http { url: String },
    Sgp(Legacy),
    Spark(Spark),
    Routed { legacy: Legacy, spark: Spark, shadow_sample: f64 },
}

/// The legacy ownership service.
pub(crate) struct Legacy {
    pub(crate) url: String,
    /// Whether registering is more than nothing there.
    pub(crate) registers: bool,
}

/// SpiceDB.
pub(crate) struct Spark {
    /// With its scheme.
    pub(crate) endpoint: String,
    pub(crate) token: Option<String>,
    pub(crate) write_schema: bool,
}

/// Who authenticates callers.
pub(crate) enum Authn {
    Nobody,
    Provider {
        url: String,
        /// The only headers it sees; none are all.
        forward: Vec<String>,
    },
    Oidc(Oidc),
    Tokens(Arc<StaticTokens>),
}

/// An OpenID Connect issuer.
pub(crate) struct Oidc {
    pub(crate) issuer: String,
    pub(crate) audience: Vec<String>,
    pub(crate) jwks_url: Option<String>,
    pub(crate) user_claim: String,
    pub(crate) account_claim: String,
}

impl Backend {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Local => "local",
            Self::Http { .. } => "http",
            Self::Sgp(_) => "sgp",
            Self::Spark(_) => "spark",
            Self::Routed { .. } => "routed",
        }
    }

    pub(crate) const fn is_disabled(&self) -> bool {
        matches!(self, Self::Disabled)
    }
}

impl Authn {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Provider { .. } => "provider",
            Self::Oidc(_) => "oidc",
            Self::Tokens(_) => "tokens",
        }
    }
}

/// What the file of tokens looks like.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensFile {
    token: Vec<StaticToken>,
}

/// What asks for authorization by being set.
const ASKING: [&str; 5] =
    ["AGENTEX_AUTHN", "AGENTEX_TOKENS_FILE", "AGENTEX_OIDC_ISSUER", "AGENTEX_SGP_URL", "AGENTEX_SPICEDB_ENDPOINT"];

impl Values {
    pub(super) fn authorization(
        &self,
        host: &str,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> Authorization {
        let backend = self.backend(problems);
        let authn = if backend.is_disabled() { Authn::Nobody } else { self.authn(&backend, host, problems) };
        if backend.is_disabled()
            && !host.is_empty()
            && !is_loopback(host)
            && !self.boolean("AGENTEX_ALLOW_UNAUTHENTICATED")
        {
            problems.push(Problem::new(
                self.name_of("AGENTEX_LISTEN_HOST"),
                "expected a loopback address, because authorization is disabled; \
                 --allow-unauthenticated (AGENTEX_ALLOW_UNAUTHENTICATED=true) permits any",
            ));
        }
        if self.boolean("AGENTEX_ALLOW_AGENT_IDENTITY_HEADER") {
            problems.push(Problem::new(
                self.name_of("AGENTEX_ALLOW_AGENT_IDENTITY_HEADER"),
                "expected false: whoever knows an agent's id could send the header, so it never grants anything",
            ));
        }
        self.warn_of_unused(&backend, &authn, warnings);
        let timeout = Duration::from_millis(self.number("AGENTEX_AUTHZ_TIMEOUT_MS"));
        if self.relay().grace <= timeout + QUEUE_WAIT {
            problems.push(Problem::new(
                self.name_of("AGENTEX_AUTHZ_INTENT_GRACE_S"),
                "expected more than a second above AGENTEX_AUTHZ_TIMEOUT_MS, or changes would be taken from the requests \
                 that are making them",
            ));
        }
        Authorization {
            backend,
            authn,
            profile: if self.is_compat() { "compat" } else { "strict" },
            timeout,
            max_list_ids: self.number("AGENTEX_AUTHZ_MAX_LIST_IDS"),
        }
    }

    /// Fails closed: whoever asked for authorization does not get a server without it.
    fn backend(&self, problems: &mut Vec<Problem>) -> Backend {
        let auth_url = self.text("AGENTEX_AUTH_URL");
        let name = match (self.text("AGENTEX_AUTHZ_BACKEND"), auth_url) {
            (Some(name), _) => name,
            (None, Some(_)) => "http",
            (None, None) => {
                if let Some(asking) = ASKING.into_iter().find(|name| self.text(name).is_some()) {
                    problems.push(Problem::new(
                        self.name_of(asking),
                        "needs AGENTEX_AUTHZ_BACKEND, one of local/http/sgp/spark/routed; \
                         disabled runs without authorization",
                    ));
                }
                "disabled"
            }
        };
        let has = match name {
            "http" | "sgp" => cfg!(feature = "sgp"),
            "spark" => cfg!(feature = "spark"),
            "routed" => cfg!(all(feature = "sgp", feature = "spark")),
            _ => true,
        };
        if !has {
            problems.push(Problem::new(self.name_of("AGENTEX_AUTHZ_BACKEND"), format!("this build has no {name}")));
        }
        let mut needed = |setting: &'static str| {
            self.text(setting).map(str::to_owned).unwrap_or_else(|| {
                problems.push(Problem::new(setting, format!("needed by the authorization backend {name}")));
                String::new()
            })
        };
        match name {
            "local" => Backend::Local,
            "http" => Backend::Http { url: needed("AGENTEX_AUTH_URL") },
            "sgp" => Backend::Sgp(self.legacy(needed("AGENTEX_SGP_URL"))),
            "spark" => {
                let endpoint = needed("AGENTEX_SPICEDB_ENDPOINT");
                Backend::Spark(self.spark(&endpoint, problems))
            }
            "routed" => {
                let legacy = self.legacy(needed("AGENTEX_SGP_URL"));
                let endpoint = needed("AGENTEX_SPICEDB_ENDPOINT");
                let spark = self.spark(&endpoint, problems);
                let shadow_sample = self.parsed("AGENTEX_SHADOW_SAMPLE", kind::share);
                Backend::Routed { legacy, spark, shadow_sample }
            }
            _ => Backend::Disabled,
        }
    }

    fn legacy(&self, url: String) -> Legacy {
        Legacy { url, registers: self.text("AGENTEX_SGP_REGISTER") == Some("alias") }
    }

    fn spark(&self, endpoint: &str, problems: &mut Vec<Problem>) -> Spark {
        let tls = self.optional("AGENTEX_SPICEDB_TLS", boolean);
        let (scheme, rest) = match endpoint.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, endpoint),
        };
        match (scheme, tls) {
            (Some("http"), Some(true)) | (Some("https"), Some(false)) => problems.push(Problem::new(
                self.name_of("AGENTEX_SPICEDB_TLS"),
                "contradicts the scheme of AGENTEX_SPICEDB_ENDPOINT",
            )),
            _ => {}
        }
        let secure = scheme.map_or(tls == Some(true), |scheme| scheme == "https");
        let token = self.text("AGENTEX_SPICEDB_TOKEN").map(str::to_owned);
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            let name = self.name_of("AGENTEX_SPICEDB_TOKEN");
            problems.push(Problem::new(name, "expected visible ASCII characters"));
        }
        Spark {
            endpoint: format!("{}://{rest}", if secure { "https" } else { "http" }),
            token,
            write_schema: self.boolean("AGENTEX_SPICEDB_WRITE_SCHEMA"),
        }
    }

    fn authn(&self, backend: &Backend, host: &str, problems: &mut Vec<Problem>) -> Authn {
        let by_what_is_set = || {
            let settings =
                [("AGENTEX_AUTH_URL", "provider"), ("AGENTEX_OIDC_ISSUER", "oidc"), ("AGENTEX_TOKENS_FILE", "tokens")];
            settings.into_iter().find(|(setting, _)| self.text(setting).is_some()).map(|(_, name)| name)
        };
        match self.text("AGENTEX_AUTHN").or_else(by_what_is_set) {
            Some("provider") => self.provider(problems),
            Some("oidc") => self.oidc(problems),
            Some("tokens") => self.tokens(host, problems),
            _ => {
                // The backend `http` has its URL missing then, which is said already.
                if !matches!(backend, Backend::Http { .. }) {
                    problems.push(Problem::new(
                        "AGENTEX_AUTHN",
                        format!(
                            "the authorization backend {} needs somebody who authenticates callers: set AGENTEX_AUTH_URL \
                             (a provider), AGENTEX_OIDC_ISSUER or AGENTEX_TOKENS_FILE",
                            backend.name()
                        ),
                    ));
                }
                Authn::Nobody
            }
        }
    }

    fn provider(&self, problems: &mut Vec<Problem>) -> Authn {
        if !cfg!(feature = "sgp") {
            problems.push(Problem::new(self.name_of("AGENTEX_AUTH_URL"), "this build knows no auth provider"));
        }
        let Some(url) = self.text("AGENTEX_AUTH_URL") else {
            problems.push(Problem::new("AGENTEX_AUTH_URL", "needed by AGENTEX_AUTHN=provider"));
            return Authn::Nobody;
        };
        Authn::Provider { url: url.to_owned(), forward: self.list("AGENTEX_AUTHN_FORWARD_HEADERS") }
    }

    fn oidc(&self, problems: &mut Vec<Problem>) -> Authn {
        let Some(issuer) = self.text("AGENTEX_OIDC_ISSUER") else {
            problems.push(Problem::new("AGENTEX_OIDC_ISSUER", "needed by AGENTEX_AUTHN=oidc"));
            return Authn::Nobody;
        };
        let claim = |name| self.text(name).unwrap_or_default().to_owned();
        let oidc = Oidc {
            issuer: issuer.to_owned(),
            audience: self.list("AGENTEX_OIDC_AUDIENCE"),
            jwks_url: self.text("AGENTEX_OIDC_JWKS_URL").map(str::to_owned),
            user_claim: claim("AGENTEX_OIDC_USER_CLAIM"),
            account_claim: claim("AGENTEX_OIDC_ACCOUNT_CLAIM"),
        };
        self.check_oidc(&oidc, problems);
        Authn::Oidc(oidc)
    }

    #[cfg(feature = "oidc")]
    fn check_oidc(&self, oidc: &Oidc, problems: &mut Vec<Problem>) {
        use agentex::oidc::{OidcAuthenticator, SetupError};

        if let Err(error) = OidcAuthenticator::new(oidc.settings()) {
            let name = match error {
                SetupError::JwksUrl => "AGENTEX_OIDC_JWKS_URL",
                SetupError::Audience => "AGENTEX_OIDC_AUDIENCE",
                SetupError::Claim("account_claim") => "AGENTEX_OIDC_ACCOUNT_CLAIM",
                SetupError::Claim(_) => "AGENTEX_OIDC_USER_CLAIM",
                _ => "AGENTEX_OIDC_ISSUER",
            };
            problems.push(Problem::new(self.name_of(name), error));
        }
    }

    #[cfg(not(feature = "oidc"))]
    fn check_oidc(&self, _: &Oidc, problems: &mut Vec<Problem>) {
        problems.push(Problem::new(self.name_of("AGENTEX_OIDC_ISSUER"), "this build has no OpenID Connect"));
    }

    /// Tokens in a file are for development: they do not expire and everybody who reads the file is everybody in it.
    fn tokens(&self, host: &str, problems: &mut Vec<Problem>) -> Authn {
        let Some(file) = self.text("AGENTEX_TOKENS_FILE") else {
            problems.push(Problem::new("AGENTEX_TOKENS_FILE", "needed by AGENTEX_AUTHN=tokens"));
            return Authn::Nobody;
        };
        let name = self.name_of("AGENTEX_TOKENS_FILE");
        if !self.is_development() && !is_loopback(host) {
            problems.push(Problem::new(
                &name,
                "tokens in a file are for development: expected a loopback address to listen on, \
                 or ENVIRONMENT=development",
            ));
        }
        match read_tokens(Path::new(file)) {
            Ok(tokens) => Authn::Tokens(Arc::new(tokens)),
            Err(problem) => {
                problems.push(Problem::new(name, problem));
                Authn::Nobody
            }
        }
    }

    /// Tells what was set for nothing, because it may have been meant to protect something.
    fn warn_of_unused(&self, backend: &Backend, authn: &Authn, warnings: &mut Vec<String>) {
        let legacy = matches!(backend, Backend::Sgp(_) | Backend::Routed { .. });
        let spark = matches!(backend, Backend::Spark(_) | Backend::Routed { .. });
        let provider = matches!(authn, Authn::Provider { .. }) || matches!(backend, Backend::Http { .. });
        for (setting, used) in [
            ("AGENTEX_AUTH_URL", provider),
            ("AGENTEX_OIDC_ISSUER", matches!(authn, Authn::Oidc(_))),
            ("AGENTEX_TOKENS_FILE", matches!(authn, Authn::Tokens(_))),
            ("AGENTEX_SGP_URL", legacy),
            ("AGENTEX_SPICEDB_ENDPOINT", spark),
        ] {
            if !used && self.text(setting).is_some() {
                warnings.push(format!(
                    "{} is not used (authorization: {}, authentication: {})",
                    self.name_of(setting),
                    backend.name(),
                    authn.name()
                ));
            }
        }
        if backend.is_disabled() {
            return;
        }
        let applied = self.applied();
        if applied.registration == RegistrationAuth::Open {
            warnings.push(
                "agents register without credentials: whoever reaches this server can take over any of them".to_owned(),
            );
        }
        if applied.agent_scope == AgentScope::All {
            warnings.push("the key of any agent opens everything (AGENTEX_AGENT_SCOPE=all)".to_owned());
        }
        if !applied.spans_are_guarded {
            warnings.push("every caller sees and changes every span (SPAN_AUTHZ=off)".to_owned());
        }
    }

    fn is_compat(&self) -> bool {
        self.text("AGENTEX_AUTHZ_PROFILE") == Some("compat")
    }

    fn is_development(&self) -> bool {
        self.text("ENVIRONMENT") == Some("development")
    }

    /// How permissions are applied: as the profile says, except where a setting says otherwise.
    pub(super) fn applied(&self) -> AuthorizationSettings {
        let mut settings =
            if self.is_compat() { AuthorizationSettings::compat() } else { AuthorizationSettings::strict() };
        if self.is_development() {
            settings.registration = RegistrationAuth::Open;
        }
        match self.text("AGENTEX_REGISTRATION_AUTH") {
            Some("open") => settings.registration = RegistrationAuth::Open,
            Some(_) => settings.registration = RegistrationAuth::Credential,
            None => {}
        }
        if let Some(trusted) = self.optional("AGENTEX_TRUST_BODY_PRINCIPAL", boolean) {
            settings.trust_body_principal = trusted;
        }
        match self.text("AGENTEX_AGENT_SCOPE") {
            Some("all") => settings.agent_scope = AgentScope::All,
            Some(_) => settings.agent_scope = AgentScope::Own,
            None => {}
        }
        match self.text("AGENTEX_ENFORCE_TASK_AGENT_LINK") {
            Some("warn") => settings.task_agent_link = LinkRule::Warn,
            Some(_) => settings.task_agent_link = LinkRule::Enforce,
            None => {}
        }
        settings.spans_are_guarded = self.text("SPAN_AUTHZ") != Some("off");
        if let Some(collapse) = self.optional("AGENTEX_AUTHN_COLLAPSE_ERRORS", boolean) {
            settings.collapse_authentication_errors = collapse;
        }
        let days: u64 = self.number("AGENTEX_REGISTRATION_TOKEN_DAYS");
        settings.registration_token_lifetime = Duration::from_secs(days * 24 * 3600);
        settings
    }

    pub(super) fn relay(&self) -> RelaySettings {
        let grace = Duration::from_secs(self.number("AGENTEX_AUTHZ_INTENT_GRACE_S"));
        RelaySettings { grace, ..RelaySettings::default() }
    }
}

#[cfg(feature = "oidc")]
impl Oidc {
    pub(crate) fn settings(&self) -> agentex::oidc::OidcSettings {
        let Self { issuer, audience, jwks_url, user_claim, account_claim } = self;
        agentex::oidc::OidcSettings {
            jwks_url: jwks_url.clone(),
            user_claim: user_claim.clone(),
            account_claim: account_claim.clone(),
            ..agentex::oidc::OidcSettings::new(issuer.clone(), audience.iter().cloned())
        }
    }
}

/// Reads `[[token]]` tables. What is wrong is told without a word of what is in the file.
fn read_tokens(file: &Path) -> Result<StaticTokens, String> {
    let at = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{at} cannot be read ({})", error.kind()))?;
    let parsed = toml::from_str::<TokensFile>(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        format!(
            "{at} line {line}: expected [[token]] tables, each with token, user_id or service_account_id, and accounts"
        )
    })?;
    StaticTokens::new(parsed.token).map_err(|error| format!("{at}: {error}"))
}
