//! Responses for refusals and failures of everything below HTTP.

use axum::http::StatusCode;
use xshield_intelligence::error::ThreatError;
use xshield_intelligence::feed::InvalidSetting;

use crate::bodies::BodyError;
use crate::connections::party::TooManyConnections;
use crate::host_message::HostMessageError;
use crate::intake::ReportError;
use crate::json::JsonError;
use crate::limits::TooMany;
use crate::problem::ErrorResponse;

impl From<ThreatError> for ErrorResponse {
    fn from(error: ThreatError) -> Self {
        Self::internal(&error)
    }
}

impl From<InvalidSetting> for ErrorResponse {
    fn from(InvalidSetting { field, reason }: InvalidSetting) -> Self {
        Self::invalid(field, reason)
    }
}

impl From<TooMany> for ErrorResponse {
    fn from(TooMany { what, seconds }: TooMany) -> Self {
        Self::too_many(what, seconds)
    }
}

impl From<JsonError> for ErrorResponse {
    fn from(JsonError { field, reason }: JsonError) -> Self {
        let title = "Invalid body";
        let problem = Self::new(StatusCode::BAD_REQUEST, "invalid-json", title).detail(reason);
        match field {
            Some(field) => problem.field(field),
            None => problem,
        }
    }
}

impl From<HostMessageError> for ErrorResponse {
    fn from(error: HostMessageError) -> Self {
        match error {
            HostMessageError::Version(error) => {
                let title = "Unsupported protocol version";
                Self::new(StatusCode::BAD_REQUEST, "version-unsupported", title)
                    .field("/version")
                    .detail(error.to_string())
            }
            HostMessageError::Malformed(error) => error.into(),
        }
    }
}

impl From<BodyError> for ErrorResponse {
    fn from(error: BodyError) -> Self {
        let (status, code, title) = match error {
            BodyError::TooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large")
            }
            BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "Body too slow"),
            BodyError::NoRoom => {
                (StatusCode::SERVICE_UNAVAILABLE, "busy", "No memory for the body")
            }
            BodyError::Broken(_) => (StatusCode::BAD_REQUEST, "broken-body", "Unreadable body"),
        };
        let mut problem = Self::new(status, code, title).detail(error.to_string());
        if matches!(error, BodyError::NoRoom) {
            problem.retry_after = Some(5);
        }
        problem
    }
}

impl From<TooManyConnections> for ErrorResponse {
    fn from(error: TooManyConnections) -> Self {
        let title = "Too many connections";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut problem =
            Self::new(status, "too-many-connections", title).detail(error.to_string());
        problem.retry_after = Some(5);
        problem
    }
}

impl From<ReportError> for ErrorResponse {
    fn from(error: ReportError) -> Self {
        let text = error.to_string();
        match error {
            ReportError::TooMany(error) => error.into(),
            ReportError::Busy => {
                let title = "Busy with other reports";
                let mut problem =
                    Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", title).detail(text);
                problem.retry_after = Some(10);
                problem
            }
            ReportError::Unpack(_) => {
                let title = "Invalid compression";
                Self::new(StatusCode::BAD_REQUEST, "invalid-zstd", title).detail(text)
            }
            ReportError::TooLarge { .. } => {
                let title = "Report too large";
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title).detail(text)
            }
            ReportError::Message(error) => error.into(),
            ReportError::Store(error) => error.into(),
            ReportError::Ended(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_status_and_code() {
        let json = || JsonError { field: Some("/a".to_owned()), reason: "no".to_owned() };
        let too_many = TooMany { what: "reports", seconds: 7 };
        let large = ReportError::TooLarge { most: 10, ratio: 2 };
        for (problem, status, code, wait) in [
            (ErrorResponse::from(too_many), 429, "too-many-requests", Some(7)),
            (ReportError::TooMany(too_many).into(), 429, "too-many-requests", Some(7)),
            (json().into(), 400, "invalid-json", None),
            (HostMessageError::Malformed(json()).into(), 400, "invalid-json", None),
            (BodyError::TooLarge { most: 10 }.into(), 413, "too-large", None),
            (BodyError::TooSlow.into(), 408, "too-slow", None),
            (BodyError::NoRoom.into(), 503, "busy", Some(5)),
            (ReportError::Busy.into(), 503, "busy", Some(10)),
            (ReportError::Unpack(std::io::Error::other("cut")).into(), 400, "invalid-zstd", None),
            (large.into(), 413, "too-large", None),
        ] {
            assert_eq!((problem.status.as_u16(), problem.slug()), (status, code));
            assert_eq!(problem.retry_after, wait, "{code}");
            assert!(problem.detail.as_ref().is_some_and(|detail| !detail.is_empty()), "{code}");
        }
    }
}
