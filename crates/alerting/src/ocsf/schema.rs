//! The parts of OCSF 1.3.0 for the emitted class and its objects, and a validator for events.
//!
//! The table is generated from the files of <https://github.com/ocsf/ocsf-schema> at the tag `1.3.0` (Apache
//! License 2.0): names, types, required attributes and numbers, with the inheritance of classes and objects
//! resolved. Attributes of profiles are omitted except those of `security_control`, marked with `@`.

use std::net::IpAddr;

use serde_json::{Map, Value};

struct Object {
    name: &'static str,
    /// At least one of these is required; empty if there is no such constraint.
    one_of: &'static str,
    /// `name:type`, with `!` if required, with `[]` for a list.
    attributes: &'static str,
}

const OBJECTS: &[Object] = &[
    Object {
        name: "detection_finding",
        one_of: "",
        attributes: "
            action:string_t@ action_id!:integer_t@ activity_id!:integer_t activity_name:string_t
            attacks:attack[]@ authorizations:authorization[]@ category_name:string_t
            category_uid!:integer_t class_name:string_t class_uid!:integer_t comment:string_t
            confidence:string_t confidence_id:integer_t confidence_score:integer_t
            count:integer_t device:device disposition:string_t@ disposition_id:integer_t@
            duration:long_t end_time:timestamp_t enrichments:enrichment[] evidences:evidences[]
            finding_info!:finding_info firewall_rule:firewall_rule@ impact:string_t
            impact_id:integer_t impact_score:integer_t malware:malware[]@ message:string_t
            metadata!:metadata observables:observable[] raw_data:string_t
            remediation:remediation resources:resource_details[] risk_details:string_t
            risk_level:string_t risk_level_id:integer_t risk_score:integer_t severity:string_t
            severity_id!:integer_t start_time:timestamp_t status:string_t status_code:string_t
            status_detail:string_t status_id:integer_t time!:timestamp_t
            timezone_offset:integer_t type_name:string_t type_uid!:long_t unmapped:object
            vulnerabilities:vulnerability[]
        ",
    },
    Object {
        name: "evidences",
        one_of: "actor api connection_info data database databucket device dst_endpoint email file process query src_endpoint url user job",
        attributes: "
            actor:actor api:api connection_info:network_connection_info container:container
            data:json_t database:database databucket:databucket device:device
            dst_endpoint:network_endpoint email:email file:file job:job process:process
            query:dns_query src_endpoint:network_endpoint url:url user:user
        ",
    },
    Object {
        name: "finding_info",
        one_of: "",
        attributes: "
            analytic:analytic attacks:attack[] created_time:timestamp_t data_sources:string_t[]
            desc:string_t first_seen_time:timestamp_t kill_chain:kill_chain_phase[]
            last_seen_time:timestamp_t modified_time:timestamp_t product_uid:string_t
            related_analytics:analytic[] related_events:related_event[] src_url:url_t
            title!:string_t types:string_t[] uid!:string_t
        ",
    },
    Object {
        name: "analytic",
        one_of: "name uid",
        attributes: "
            category:string_t desc:string_t name:string_t related_analytics:analytic[]
            type:string_t type_id!:integer_t uid:string_t version:string_t
        ",
    },
    Object {
        name: "resource_details",
        one_of: "name uid",
        attributes: "
            agent_list:agent[] criticality:string_t data:json_t group:group labels:string_t[]
            name:string_t namespace:string_t owner:user type:string_t uid:string_t
            version:string_t
        ",
    },
    Object {
        name: "network_endpoint",
        one_of: "ip uid name hostname svc_name instance_uid interface_uid interface_name",
        attributes: "
            agent_list:agent[] autonomous_system:autonomous_system domain:string_t
            hostname:hostname_t hw_info:device_hw_info instance_uid:string_t
            interface_name:string_t interface_uid:string_t intermediate_ips:ip_t[] ip:ip_t
            location:location mac:mac_t name:string_t os:os owner:user port:port_t
            proxy_endpoint:network_proxy subnet_uid:string_t svc_name:string_t type:string_t
            type_id:integer_t uid:string_t vlan_uid:string_t vpc_uid:string_t zone:string_t
        ",
    },
    Object {
        name: "network_connection_info",
        one_of: "",
        attributes: "
            boundary:string_t boundary_id:integer_t direction:string_t direction_id!:integer_t
            protocol_name:string_t protocol_num:integer_t protocol_ver:string_t
            protocol_ver_id:integer_t session:session tcp_flags:integer_t uid:string_t
        ",
    },
    Object {
        name: "observable",
        one_of: "",
        attributes: "
            name!:string_t reputation:reputation type:string_t type_id!:integer_t value:string_t
        ",
    },
    Object {
        name: "enrichment",
        one_of: "",
        attributes: "
            created_time:timestamp_t data!:json_t desc:string_t name!:string_t provider:string_t
            reputation:reputation short_desc:string_t src_url:url_t type:string_t
            value!:string_t
        ",
    },
    Object {
        name: "metadata",
        one_of: "",
        attributes: "
            correlation_uid:string_t event_code:string_t extension:extension
            extensions:extension[] labels:string_t[] log_level:string_t log_name:string_t
            log_provider:string_t log_version:string_t logged_time:timestamp_t loggers:logger[]
            modified_time:timestamp_t original_time:string_t processed_time:timestamp_t
            product!:product profiles:string_t[] sequence:integer_t tenant_uid:string_t
            uid:string_t version!:string_t
        ",
    },
    Object {
        name: "product",
        one_of: "name uid",
        attributes: "
            cpe_name:string_t feature:feature lang:string_t name:string_t path:string_t
            uid:string_t url_string:url_t vendor_name!:string_t version:string_t
        ",
    },
    Object {
        name: "process",
        one_of: "pid uid",
        attributes: "
            cmd_line:string_t created_time:timestamp_t file:file integrity:string_t
            integrity_id:integer_t lineage:string_t[] loaded_modules:string_t[]
            name:process_name_t parent_process:process pid:integer_t sandbox:string_t
            session:session terminated_time:timestamp_t tid:integer_t uid:string_t user:user
            xattributes:object
        ",
    },
];

/// Object, attribute, and the numbers with their captions.
type Numbers = (&'static str, &'static str, &'static [(i64, &'static str)]);

const ENUMS: &[Numbers] = &[
    ("detection_finding", "category_uid", &[(2, "Findings")]),
    ("detection_finding", "class_uid", &[(2004, "Detection Finding")]),
    ("detection_finding", "type_uid", &[(200_401, "Detection Finding: Create")]),
    ("observable", "type_id", &[(0, "Unknown"), (1, "Hostname"), (2, "IP Address"), (99, "Other")]),
    (
        "detection_finding",
        "action_id",
        &[(0, "Unknown"), (1, "Allowed"), (2, "Denied"), (99, "Other")],
    ),
    (
        "detection_finding",
        "activity_id",
        &[(0, "Unknown"), (1, "Create"), (2, "Update"), (3, "Close"), (99, "Other")],
    ),
    (
        "detection_finding",
        "confidence_id",
        &[(0, "Unknown"), (1, "Low"), (2, "Medium"), (3, "High"), (99, "Other")],
    ),
    (
        "detection_finding",
        "disposition_id",
        &[
            (0, "Unknown"),
            (1, "Allowed"),
            (2, "Blocked"),
            (3, "Quarantined"),
            (4, "Isolated"),
            (5, "Deleted"),
            (6, "Dropped"),
            (7, "Custom Action"),
            (8, "Approved"),
            (9, "Restored"),
            (10, "Exonerated"),
            (11, "Corrected"),
            (12, "Partially Corrected"),
            (13, "Uncorrected"),
            (14, "Delayed"),
            (15, "Detected"),
            (16, "No Action"),
            (17, "Logged"),
            (18, "Tagged"),
            (19, "Alert"),
            (20, "Count"),
            (21, "Reset"),
            (22, "Captcha"),
            (23, "Challenge"),
            (24, "Access Revoked"),
            (25, "Rejected"),
            (26, "Unauthorized"),
            (27, "Error"),
            (99, "Other"),
        ],
    ),
    (
        "detection_finding",
        "severity_id",
        &[
            (0, "Unknown"),
            (1, "Informational"),
            (2, "Low"),
            (3, "Medium"),
            (4, "High"),
            (5, "Critical"),
            (6, "Fatal"),
            (99, "Other"),
        ],
    ),
    (
        "detection_finding",
        "status_id",
        &[
            (0, "Unknown"),
            (1, "New"),
            (2, "In Progress"),
            (3, "Suppressed"),
            (4, "Resolved"),
            (99, "Other"),
        ],
    ),
    (
        "analytic",
        "type_id",
        &[
            (0, "Unknown"),
            (1, "Rule"),
            (2, "Behavioral"),
            (3, "Statistical"),
            (4, "Learning (ML/DL)"),
            (5, "Fingerprinting"),
            (6, "Tagging"),
            (7, "Keyword Match"),
            (8, "Regular Expressions"),
            (9, "Exact Data Match"),
            (10, "Partial Data Match"),
            (11, "Indexed Data Match"),
            (99, "Other"),
        ],
    ),
    (
        "network_connection_info",
        "direction_id",
        &[(0, "Unknown"), (1, "Inbound"), (2, "Outbound"), (3, "Lateral"), (99, "Other")],
    ),
    (
        "network_connection_info",
        "protocol_ver_id",
        &[
            (0, "Unknown"),
            (4, "Internet Protocol version 4 (IPv4)"),
            (6, "Internet Protocol version 6 (IPv6)"),
            (99, "Other"),
        ],
    ),
];

/// The violations of the schema in an event of this class.
pub(super) fn violations(class: &str, event: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let profiles = event.pointer("/metadata/profiles").and_then(Value::as_array);
    let with_profile = profiles.is_some_and(|list| list.contains(&Value::from("security_control")));
    object(class, event, with_profile, class, &mut found);
    let number = |name: &str| event.get(name).and_then(Value::as_i64).unwrap_or_default();
    if number("type_uid") != number("class_uid") * 100 + number("activity_id") {
        found.push("type_uid is not made of class_uid and activity_id".to_owned());
    }
    for list in ["observables", "enrichments"] {
        for pointing in event.get(list).and_then(Value::as_array).into_iter().flatten() {
            let path = pointing["name"].as_str().unwrap_or_default();
            if !at(event, path).contains(&&pointing["value"]) {
                found.push(format!("{list}: no attribute {path:?} has this value"));
            }
        }
    }
    found
}

/// The values at a path such as `evidences[].src_endpoint.ip`.
fn at<'a>(event: &'a Value, path: &str) -> Vec<&'a Value> {
    path.split('.').fold(vec![event], |values, step| {
        let (name, is_list) = match step.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (step, false),
        };
        let next = values.into_iter().filter_map(|value| value.get(name));
        if is_list { next.filter_map(Value::as_array).flatten().collect() } else { next.collect() }
    })
}

fn object(name: &str, value: &Value, with_profile: bool, path: &str, found: &mut Vec<String>) {
    let Some(known) = OBJECTS.iter().find(|object| object.name == name) else {
        found.push(format!("{path}: the table lacks the object {name}; add it"));
        return;
    };
    let Some(fields) = value.as_object() else {
        found.push(format!("{path}: not an object"));
        return;
    };
    let mut one_of = known.one_of.split_whitespace().peekable();
    if one_of.peek().is_some() && !one_of.any(|one| fields.contains_key(one)) {
        found.push(format!("{path}: has none of {}", known.one_of));
    }
    let mut names = Vec::new();
    for attribute in known.attributes.split_whitespace() {
        let (attribute, of_profile) = match attribute.strip_suffix('@') {
            Some(attribute) => (attribute, true),
            None => (attribute, false),
        };
        let (attribute, kind) = attribute.split_once(':').unwrap();
        let (attribute, required) = match attribute.strip_suffix('!') {
            Some(attribute) => (attribute, true),
            None => (attribute, false),
        };
        if of_profile && !with_profile {
            continue;
        }
        names.push(attribute);
        let path = format!("{path}.{attribute}");
        match fields.get(attribute) {
            Some(value) => typed(kind, value, with_profile, &path, found),
            None if required => found.push(format!("{path}: required")),
            None => {}
        }
        numbered(name, attribute, fields, &path, found);
    }
    let unknown = fields.keys().filter(|field| !names.contains(&field.as_str()));
    found.extend(unknown.map(|field| format!("{path}.{field}: the schema has no such attribute")));
}

fn typed(kind: &str, value: &Value, with_profile: bool, path: &str, found: &mut Vec<String>) {
    if let Some(kind) = kind.strip_suffix("[]") {
        match value.as_array() {
            Some(list) => {
                for (place, one) in list.iter().enumerate() {
                    typed(kind, one, with_profile, &format!("{path}[{place}]"), found);
                }
            }
            None => found.push(format!("{path}: not a list")),
        }
        return;
    }
    let text = value.as_str();
    let right = match kind {
        "string_t" | "url_t" | "process_name_t" => text.is_some_and(|text| text.len() <= 65_535),
        "hostname_t" => text.is_some_and(|text| text.split('.').all(is_label)),
        "ip_t" => text.is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        "integer_t" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        "port_t" => value.as_u64().is_some_and(|number| number <= 65_535),
        "long_t" => value.is_i64(),
        // Milliseconds: a time in seconds would be in January 1970.
        "timestamp_t" => value.as_i64().is_some_and(|number| number > 1_000_000_000_000),
        "json_t" => true,
        "object" => value.is_object(),
        kind => return object(kind, value, with_profile, path, found),
    };
    if !right {
        found.push(format!("{path}: {value} is no {kind}"));
    }
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !label.is_empty() && label.bytes().all(inner) && label.trim_matches('-') == label
}

/// A number must be one of those defined, and the attribute beside it must have its caption.
fn numbered(
    object: &str,
    attribute: &str,
    fields: &Map<String, Value>,
    path: &str,
    found: &mut Vec<String>,
) {
    let (Some((_, _, numbers)), Some(value)) = (
        ENUMS.iter().find(|(of, name, _)| (*of, *name) == (object, attribute)),
        fields.get(attribute),
    ) else {
        return;
    };
    let Some((_, caption)) = numbers.iter().find(|(number, _)| value.as_i64() == Some(*number))
    else {
        found.push(format!("{path}: there is no {value}"));
        return;
    };
    let beside = match attribute {
        "activity_id" | "category_uid" | "class_uid" | "type_uid" => {
            format!("{}_name", attribute.rsplit_once('_').unwrap().0)
        }
        _ => attribute.strip_suffix("_id").unwrap_or(attribute).to_owned(),
    };
    if let Some(said) = fields.get(&beside)
        && said != caption
    {
        found.push(format!("{path}: {value} is {caption:?}, but {beside} says {said}"));
    }
}
