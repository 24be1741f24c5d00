use std::time::Duration;

use agentex_authz::CredentialHeaders;
use jsonwebtoken::crypto::rust_crypto;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, get_current_timestamp};
use serde_json::{Map, Value};

use crate::algorithm::SigningAlgorithm;
use crate::settings::OidcSettings;

/// Longer than any header our servers take.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Why a caller is refused. For logs: no variant holds a word of what the caller sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no bearer token")]
    NoToken,
    #[error("a header with credentials came more than once")]
    Ambiguous,
    #[error("the token is too long")]
    TooLong,
    #[error("the token is not a signed JSON web token, or its algorithm is not known")]
    NotAToken,
    #[error("the token's header has extensions that must be understood")]
    Critical,
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    #[error("the issuer has no key, or several, that the token can be signed with")]
    UnknownKey,
    #[error("the signature is not the issuer's")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token is another issuer's")]
    Issuer,
    #[error("the token is for somebody else")]
    Audience,
    #[error("a claim is missing or malformed")]
    Claims,
    #[error("the token names no user and no service account")]
    Nobody,
    #[error("the token does not allow the selected account")]
    Account,
}

/// What a token says about its signature; nothing of it is to be believed yet.
pub(crate) struct Announced {
    pub(crate) key_id: Option<String>,
    pub(crate) algorithm: SigningAlgorithm,
}

/// Checks tokens of one issuer.
pub(crate) struct Verifier {
    issuer: String,
    leeway: Duration,
    accepted: Vec<(SigningAlgorithm, Validation)>,
}

impl Verifier {
    pub(crate) fn new(settings: &OidcSettings) -> Self {
        // The library would choose by itself, and panic at the first token in a program where somebody else has
        // switched on its other implementation. An error means that the program has chosen already.
        let _ = rust_crypto::DEFAULT_PROVIDER.install_default();
        let accepted = settings.algorithms.iter().map(|algorithm| (*algorithm, validation(*algorithm, settings)));
        Self { issuer: settings.issuer.clone(), leeway: settings.leeway, accepted: accepted.collect() }
    }

    /// Reads the header of `token`, as far as it is acceptable.
    pub(crate) fn announced(&self, token: &str) -> Result<Announced, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        // `none` and algorithms that the library does not know fail here.
        let header = decode_header(token).map_err(|_| Refusal::NotAToken)?;
        if header.crit.is_some() {
            return Err(Refusal::Critical);
        }
        let accepted = self.accepted.iter().map(|(algorithm, _)| *algorithm);
        let algorithm = accepted.into_iter().find(|one| one.library() == header.alg).ok_or(Refusal::Algorithm)?;
        Ok(Announced { key_id: header.kid, algorithm })
    }

    /// The claims of `token`, when `key` signed them with `algorithm` and they are this issuer's, for us, and in force.
    pub(crate) fn claims(
        &self,
        token: &str,
        key: &DecodingKey,
        algorithm: SigningAlgorithm,
    ) -> Result<Map<String, Value>, Refusal> {
        let (_, validation) = self.accepted.iter().find(|(one, _)| *one == algorithm).ok_or(Refusal::Algorithm)?;
        let claims =
            decode::<Map<String, Value>>(token, key, validation).map_err(|error| refusal(error.kind()))?.claims;
        // The library is content when the issuer is one of an array.
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(Refusal::Issuer);
        }
        // The library leaves it to us whether a token may come from the future.
        if let Some(issued_at) = claims.get("iat") {
            let issued_at = issued_at.as_f64().ok_or(Refusal::Claims)?;
            let latest = Duration::from_secs(get_current_timestamp()).saturating_add(self.leeway);
            if issued_at > latest.as_secs_f64() {
                return Err(Refusal::NotYetValid);
            }
        }
        Ok(claims)
    }
}

fn validation(algorithm: SigningAlgorithm, settings: &OidcSettings) -> Validation {
    let mut validation = Validation::new(algorithm.library());
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(&[&settings.issuer]);
    validation.set_audience(&settings.audience);
    validation.validate_nbf = true;
    validation.leeway = settings.leeway.as_secs();
    validation
}

const fn refusal(kind: &ErrorKind) -> Refusal {
    match kind {
        ErrorKind::InvalidSignature => Refusal::Signature,
        ErrorKind::ExpiredSignature => Refusal::Expired,
        ErrorKind::ImmatureSignature => Refusal::NotYetValid,
        ErrorKind::InvalidIssuer => Refusal::Issuer,
        ErrorKind::InvalidAudience => Refusal::Audience,
        ErrorKind::InvalidAlgorithm => Refusal::Algorithm,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Refusal::Claims,
        _ => Refusal::NotAToken,
    }
}

/// The bearer token of the `authorization` header. Several such headers are refused: another reader of the same request
/// might have believed the other one.
pub(crate) fn bearer(headers: &CredentialHeaders) -> Result<&str, Refusal> {
    let value = single(headers, "authorization")?.ok_or(Refusal::NoToken)?;
    let (scheme, token) = value.split_once(' ').ok_or(Refusal::NoToken)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Refusal::NoToken);
    }
    Ok(token)
}

/// The only value of the header `name`; `None` when there is no such header.
pub(crate) fn single<'a>(headers: &'a CredentialHeaders, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.iter().filter(|(candidate, _)| *candidate == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Refusal::Ambiguous),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> CredentialHeaders {
        CredentialHeaders::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c "] {
            assert_eq!(bearer(&headers(&[("Authorization", value)])), Ok("a.b.c"), "{value}");
        }
    }

    #[test]
    fn other_schemes_other_headers_and_nothing_are_no_token() {
        for pairs in [
            &[][..],
            &[("authorization", "")],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer ")],
            &[("authorization", "a.b.c")],
            &[("authorization", "Basic a.b.c")],
            &[("authorization", "AgentKey a.b.c")],
            &[("x-api-key", "a.b.c"), ("cookie", "_identityJwt=a.b.c"), ("x-authorization", "Bearer a.b.c")],
        ] {
            assert_eq!(bearer(&headers(pairs)), Err(Refusal::NoToken), "{pairs:?}");
        }
    }

    #[test]
    fn two_authorization_headers_are_refused() {
        let twice = headers(&[("authorization", "Bearer a.b.c"), ("authorization", "Bearer d.e.f")]);

        assert_eq!(bearer(&twice), Err(Refusal::Ambiguous));
    }
}
