use agentex_domain::ports::{AgentForwarder, BoxError, ForwardError, ForwardReply, ForwardRequest};
use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Request, Response};
use tokio::time::timeout;

use crate::AcpClient;
use crate::resolve::RefusedAddress;

impl AcpClient {
    fn forwarded(&self, request: ForwardRequest) -> Result<Request, ForwardError> {
        let ForwardRequest { agent_url, method, path, query, headers, body } = request;
        let url =
            self.endpoints.forward_url(&agent_url, &path, query.as_deref()).map_err(|_| ForwardError::BadTarget)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| ForwardError::BadTarget)?;
        let mut map = HeaderMap::with_capacity(headers.len());
        for (name, value) in headers {
            // What came as a header is one; anything else cannot be sent.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                map.append(name, value);
            }
        }
        let builder = self.http.request(method, url).headers(map);
        let builder = if body.is_empty() { builder } else { builder.body(body) };
        builder.build().map_err(|_| ForwardError::BadTarget)
    }
}

#[async_trait]
impl AgentForwarder for AcpClient {
    #[tracing::instrument(name = "acp.forward", skip_all, fields(http.method = request.method))]
    async fn forward(&self, request: ForwardRequest) -> Result<ForwardReply, ForwardError> {
        let request = self.forwarded(request)?;
        let response = timeout(self.options.forward_timeout, self.execute(request))
            .await
            .map_err(|_| ForwardError::TimedOut)?
            .map_err(undelivered)?;
        let status = response.status().as_u16();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        let idle = self.options.stream_idle_timeout;
        let body = stream::try_unfold(response, move |response| async move {
            timeout(idle, next(response)).await.map_err(|_| BoxError::from("the agent fell silent"))?
        });
        Ok(ForwardReply { status, headers, body: body.boxed() })
    }
}

async fn next(mut response: Response) -> Result<Option<(bytes::Bytes, Response)>, BoxError> {
    let chunk = response.chunk().await.map_err(reqwest::Error::without_url)?;
    Ok(chunk.map(|chunk| (chunk, response)))
}

/// What a failure of the HTTP library means. The URL is taken out of it: callers' texts and logs hold no addresses.
fn undelivered(error: reqwest::Error) -> ForwardError {
    if RefusedAddress::caused(&error) {
        ForwardError::BadTarget
    } else {
        ForwardError::Unreachable(error.without_url().into())
    }
}
