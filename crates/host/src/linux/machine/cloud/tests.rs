use super::*;
use proptest::prelude::*;
use std::fs;

const AWS: &str = r#"{"accountId":"123456789012","architecture":"x86_64","availabilityZone":"eu-central-1a",
    "imageId":"ami-0abc","instanceId":"i-0123","instanceType":"m5.large","region":"eu-central-1",
    "billingProducts":null}"#;
const AZURE: &str = r#"{"location":"westeurope","name":"web","offer":"debian-12","publisher":"Debian",
    "sku":"12-gen2","subscriptionId":"8d10","vmId":"13f5","vmSize":"Standard_D2s_v3","zone":""}"#;
const GCP: &str = r#"{"id":4520031799277581759,"machineType":"projects/18/machineTypes/e2-small",
    "zone":"projects/18/zones/europe-west3-a","image":"projects/debian-cloud/global/images/debian-12"}"#;

fn summary(found: Option<CloudInstance>) -> Option<String> {
    let found = found?;
    let rest = [found.size, found.region, found.zone, found.account, found.image];
    let rest = rest.map(|text| text.unwrap_or_else(|| "-".to_owned()));
    Some(format!("{} {} {}", found.provider, found.instance, rest.join(" ")))
}

#[test]
fn each_cloud_is_queried_in_its_own_way() {
    let mut asked = Vec::new();
    let mut answers = vec![AWS.into(), b"AQAE-token==".to_vec()];
    let found = instance(Provider::Aws, |request| {
        asked.push(request.clone());
        answers.pop()
    });
    let expected = "aws i-0123 m5.large eu-central-1 eu-central-1a 123456789012 ami-0abc";
    assert_eq!(summary(found).as_deref(), Some(expected));
    assert_eq!(asked[0].method, Method::Put);
    assert_eq!(asked[1].header, (AWS_TOKEN, "AQAE-token==".to_owned()));

    let found = instance(Provider::Azure, |request| {
        assert_eq!(request.header, ("Metadata", "true".to_owned()));
        Some(AZURE.into())
    });
    let expected = "azure 13f5 Standard_D2s_v3 westeurope - 8d10 Debian:debian-12:12-gen2";
    assert_eq!(summary(found).as_deref(), Some(expected));

    let mut answers = vec![b"my-project".to_vec(), GCP.into()];
    let found = instance(Provider::Gcp, |_| answers.pop());
    let expected = "gcp 4520031799277581759 e2-small europe-west3 europe-west3-a my-project \
                    projects/debian-cloud/global/images/debian-12";
    assert_eq!(summary(found).as_deref(), Some(expected));
}

#[test]
fn a_server_that_answers_differently_is_no_cloud() {
    let all = [Provider::Aws, Provider::Azure, Provider::Gcp];
    for provider in all {
        assert_eq!(instance(provider, |_| None), None);
        assert_eq!(instance(provider, |_| Some(b"<html>login</html>".to_vec())), None);
        assert_eq!(instance(provider, |_| Some(vec![b'a'; MOST_BYTES + 1])), None);
    }
    assert_eq!(aws_token(b"a\r\nX-Injected: 1"), None);
    assert_eq!(aws(br#"{"instanceId":" \u0007 "}"#), None);
    let long = format!(r#"{{"instanceId":"{}"}}"#, "é".repeat(10_000));
    assert_eq!(aws(long.as_bytes()).unwrap().instance.chars().count(), 200);
}

#[test]
fn the_cloud_is_recognised_by_firmware() {
    let dmi = "sys/class/dmi/id";
    let table = [
        (format!("{dmi}/sys_vendor"), "Amazon EC2\n", Some(Provider::Aws)),
        ("sys/hypervisor/uuid".to_owned(), "ec2e1916-9099\n", Some(Provider::Aws)),
        (
            format!("{dmi}/chassis_asset_tag"),
            "7783-7084-3265-9085-8269-3286-77\n",
            Some(Provider::Azure),
        ),
        (format!("{dmi}/product_name"), "Google Compute Engine\n", Some(Provider::Gcp)),
        (format!("{dmi}/sys_vendor"), "QEMU\n", None),
    ];
    for (path, content, expected) in table {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
        assert_eq!(provider(root.path()), expected, "{content}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_parsed(body: Vec<u8>, which in 0_usize..3) {
        let provider = [Provider::Aws, Provider::Azure, Provider::Gcp][which];
        let _ = instance(provider, |_| Some(body.clone()));
    }
}
