//! Facts of a cloud about this instance, from the metadata service at a link-local address.
//!
//! It is only queried if an operator allows it, and only for the cloud that the firmware names: in other
//! networks anyone may answer at that address. Requests are carried out by the caller, directly and never
//! through a proxy, with a time limit of about a second each.

use std::path::Path;

use serde::Deserialize;
use xshield_wire::telemetry::CloudInstance;

use super::{read, tidy};

/// A cloud whose metadata service is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Amazon Web Services.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Google Cloud.
    Gcp,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `PUT`, without a body.
    Put,
}

/// A request to the metadata service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The URL, with plain HTTP.
    pub url: String,
    /// One header.
    pub header: (&'static str, String),
}

/// The longest answer that is read, in bytes.
pub const MOST_BYTES: usize = 64 << 10;

/// Azure's identifier in the firmware, the same on every instance.
const AZURE_ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// The cloud that the firmware names.
#[must_use]
pub fn provider(root: &Path) -> Option<Provider> {
    let field = |name: &str| read(root, &format!("sys/class/dmi/id/{name}"));
    let xen_uuid = read(root, "sys/hypervisor/uuid");
    if field("sys_vendor").contains("Amazon EC2") || xen_uuid.starts_with("ec2") {
        Some(Provider::Aws)
    } else if field("chassis_asset_tag").trim() == AZURE_ASSET_TAG {
        Some(Provider::Azure)
    } else if field("product_name").contains("Google Compute Engine") {
        Some(Provider::Gcp)
    } else {
        None
    }
}

/// Queries the metadata service. `send` performs one request and returns the body of a 200 answer. `None` if
/// the service doesn't answer as expected.
pub fn instance(
    provider: Provider,
    mut send: impl FnMut(&Request) -> Option<Vec<u8>>,
) -> Option<CloudInstance> {
    let mut send = |request: Request| {
        let body = send(&request)?;
        (body.len() <= MOST_BYTES).then_some(body)
    };
    match provider {
        Provider::Aws => {
            let token = aws_token(&send(put_aws_token())?)?;
            aws(&send(get("latest/dynamic/instance-identity/document", (AWS_TOKEN, token)))?)
        }
        Provider::Azure => {
            let path = "metadata/instance/compute?api-version=2021-02-01";
            azure(&send(get(path, ("Metadata", "true".to_owned())))?)
        }
        Provider::Gcp => {
            let flavor = || ("Metadata-Flavor", "Google".to_owned());
            let path = "computeMetadata/v1/instance/?recursive=true";
            let instance = send(get(path, flavor()))?;
            let project = send(get("computeMetadata/v1/project/project-id", flavor()));
            gcp(&instance, project.as_deref())
        }
    }
}

const AWS_TOKEN: &str = "X-aws-ec2-metadata-token";

fn get(path: &str, header: (&'static str, String)) -> Request {
    Request { method: Method::Get, url: format!("http://169.254.169.254/{path}"), header }
}

/// IMDSv2.
fn put_aws_token() -> Request {
    Request {
        method: Method::Put,
        url: "http://169.254.169.254/latest/api/token".to_owned(),
        header: ("X-aws-ec2-metadata-token-ttl-seconds", "60".to_owned()),
    }
}

/// A token goes into a header, so only the characters of a token are accepted.
fn aws_token(body: &[u8]) -> Option<String> {
    let token = std::str::from_utf8(body).ok()?.trim();
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-_=+/".contains(c);
    let fits = !token.is_empty() && token.len() <= 1024 && token.chars().all(is_token);
    fits.then(|| token.to_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AwsDocument {
    instance_id: String,
    instance_type: Option<String>,
    region: Option<String>,
    availability_zone: Option<String>,
    account_id: Option<String>,
    image_id: Option<String>,
}

fn aws(body: &[u8]) -> Option<CloudInstance> {
    let document: AwsDocument = serde_json::from_slice(body).ok()?;
    Some(CloudInstance {
        provider: "aws".to_owned(),
        instance: tidy(&document.instance_id)?,
        size: optional(document.instance_type),
        region: optional(document.region),
        zone: optional(document.availability_zone),
        account: optional(document.account_id),
        image: optional(document.image_id),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AzureCompute {
    vm_id: String,
    vm_size: Option<String>,
    location: Option<String>,
    zone: Option<String>,
    subscription_id: Option<String>,
    publisher: Option<String>,
    offer: Option<String>,
    sku: Option<String>,
}

fn azure(body: &[u8]) -> Option<CloudInstance> {
    let compute: AzureCompute = serde_json::from_slice(body).ok()?;
    let image: Vec<String> =
        [compute.publisher, compute.offer, compute.sku].into_iter().filter_map(optional).collect();
    Some(CloudInstance {
        provider: "azure".to_owned(),
        instance: tidy(&compute.vm_id)?,
        size: optional(compute.vm_size),
        region: optional(compute.location),
        zone: optional(compute.zone),
        account: optional(compute.subscription_id),
        image: tidy(&image.join(":")),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GcpInstance {
    id: u64,
    machine_type: Option<String>,
    zone: Option<String>,
    image: Option<String>,
}

/// Types and zones are paths, `projects/123/zones/europe-west3-a`; a zone is its region and a letter.
fn gcp(body: &[u8], project: Option<&[u8]>) -> Option<CloudInstance> {
    let instance: GcpInstance = serde_json::from_slice(body).ok()?;
    let last = |path: Option<String>| tidy(path?.rsplit('/').next()?);
    let zone = last(instance.zone);
    let region = zone.as_deref().and_then(|zone| Some(zone.rsplit_once('-')?.0.to_owned()));
    Some(CloudInstance {
        provider: "gcp".to_owned(),
        instance: instance.id.to_string(),
        size: last(instance.machine_type),
        region,
        zone,
        account: project.and_then(|text| tidy(&String::from_utf8_lossy(text))),
        image: optional(instance.image),
    })
}

fn optional(text: Option<String>) -> Option<String> {
    tidy(&text?)
}

#[cfg(test)]
mod tests;
