//! The list of a repository's tags (distribution-spec, section Listing Tags).

use super::RegistryError;
use super::client::{Client, refusal};
use super::endpoint::Access;
use crate::image::Reference;
use crate::transport::{Request, block_on};
use http::StatusCode;
use http::header::LINK;
use serde::Deserialize;
use url::Url;

/// Most bytes of one page.
const PAGE_LIMIT_BYTES: u64 = 4 << 20;
/// Most pages.
const PAGE_LIMIT: usize = 1000;

#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl Client {
    /// Returns the tags of a reference's repository in the registry's order.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        block_on(self.tags_async(reference))
    }

    async fn tags_async(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        let endpoint = self.primary(reference)?;
        let protocol =
            |reason: &str| RegistryError::Protocol { registry: endpoint.host.clone(), reason: reason.into() };
        let mut url = self.url(&endpoint, "tags/list").await?;
        let mut tags = Vec::new();
        for _ in 0..PAGE_LIMIT {
            let answer = self.send(&endpoint, Access::Pull, &[], &Request::get(url.clone())).await?;
            match answer.response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => {
                    let (reference, registry) = (reference.name(), endpoint.host.clone());
                    return Err(RegistryError::UnknownManifest { reference, registry });
                }
                _ => return Err(refusal(&endpoint, Access::Pull, answer.response, answer.credentials).await),
            }
            let next = answer.response.header(LINK).and_then(|link| next_page(&url, link));
            let body = answer.response.bytes(PAGE_LIMIT_BYTES).await?;
            let page: Page = serde_json::from_slice(&body).map_err(|_| protocol("its list of tags is malformed"))?;
            tags.extend(page.tags.unwrap_or_default());
            match next {
                // The token must not follow a link to another host.
                Some(next) if next.origin() != url.origin() => {
                    return Err(protocol("its list of tags goes on at another host"));
                }
                Some(next) => url = next,
                None => return Ok(tags),
            }
        }
        Err(protocol("its list of tags does not end"))
    }
}

/// Reads `Link: <url>; rel="next"` (RFC 8288).
fn next_page(base: &Url, link: &str) -> Option<Url> {
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    parameters.contains("next").then(|| base.join(target).ok()).flatten()
}
