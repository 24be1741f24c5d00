use std::time::Duration;

use agentex_domain::ports::{ChatError, DirectoryCaller, GatewayDirectory};
use async_trait::async_trait;
use serde_json::Value;

use super::transport::{ChatHttp, parsed};

/// Longest time for a look-up: somebody waits for the turn to begin.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The directory of configurations of agents.
#[derive(Debug)]
pub struct DirectoryClient {
    http: ChatHttp,
}

impl DirectoryClient {
    pub(super) const fn new(http: ChatHttp) -> Self {
        Self { http }
    }
}

#[async_trait]
impl GatewayDirectory for DirectoryClient {
    async fn find_config(&self, caller: &DirectoryCaller, name: &str) -> Result<Option<String>, ChatError> {
        let DirectoryCaller { base, api_key, account } = caller;
        let mut url = parsed(&format!("{base}/v5/agent_configs"))?;
        url.query_pairs_mut().append_pair("name", name);
        let mut request = self.http.get(url).timeout(TIMEOUT).header("x-api-key", api_key);
        if let Some(account) = account {
            request = request.header("x-selected-account-id", account);
        }
        let answer = self.http.send(request).await?.json()?;
        Ok(named(&answer, name))
    }
}

/// The id of the item of exactly this name, in a list or in the member of an object that is one.
fn named(answer: &Value, name: &str) -> Option<String> {
    let items = match answer {
        Value::Array(items) => items,
        Value::Object(members) => {
            ["items", "data", "agent_configs", "results"].iter().find_map(|member| members.get(*member)?.as_array())?
        }
        _ => return None,
    };
    let found = items.iter().filter(|item| item["name"] == name).find_map(|item| item["id"].as_str());
    found.filter(|id| !id.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_exact_name_with_an_id_counts() {
        let items = json!([{"name": "fo", "id": "1"}, {"name": "foo"}, {"name": "foo", "id": "2"}]);

        assert_eq!(named(&items, "foo").as_deref(), Some("2"));
        for member in ["items", "data", "agent_configs", "results"] {
            assert_eq!(named(&json!({member: items.clone()}), "foo").as_deref(), Some("2"), "{member}");
        }
        for other in [json!({}), json!(7), json!([{"name": "foo", "id": ""}]), json!({"items": {"name": "foo"}})] {
            assert_eq!(named(&other, "foo"), None, "{other}");
        }
    }
}
