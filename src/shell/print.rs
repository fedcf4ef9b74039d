//! Forms of output: ZooKeeper's text, our JSON, and the sentences for errors.

use serde_json::{Value, json};

use crate::client::Error;
use crate::wire::client::Stat;
use crate::wire::codes::ErrorCode;

/// The block that `stat` prints.
pub(super) fn stat_text(stat: &Stat) -> String {
    format!(
        "cZxid = {:#x}\nctime = {}\nmZxid = {:#x}\nmtime = {}\npZxid = {:#x}\ncversion = {}\n\
         dataVersion = {}\naclVersion = {}\nephemeralOwner = {:#x}\ndataLength = {}\n\
         numChildren = {}\n",
        stat.czxid,
        date(stat.ctime),
        stat.mzxid,
        date(stat.mtime),
        stat.pzxid,
        stat.cversion,
        stat.version,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children
    )
}

/// The same for programs; zxids and the owner as numbers.
pub(super) fn stat_json(stat: &Stat) -> Value {
    json!({
        "czxid": stat.czxid, "mzxid": stat.mzxid, "pzxid": stat.pzxid,
        "ctime": stat.ctime, "mtime": stat.mtime,
        "version": stat.version, "cversion": stat.cversion, "aversion": stat.aversion,
        "ephemeralOwner": stat.ephemeral_owner,
        "dataLength": stat.data_length, "numChildren": stat.num_children,
    })
}

/// `Mon Nov 23 12:50:04 UTC 2026` of milliseconds since 1970. Java prints local time; UTC is the
/// one that scripts on several machines can compare.
pub(super) fn date(ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years begin in March, so that the leap day is the last of its year; eras have 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400 + i64::from(month >= 10);
    let index = |value: i64| usize::try_from(value).expect("a remainder");
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
        DAYS[index(days.rem_euclid(7))],
        MONTHS[index((month + 2) % 12)],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// The sentence for a refused command on `path`.
pub(super) fn error_text(error: &Error, path: &str) -> String {
    let code = |name: &str| format!("KeeperErrorCode = {name} for {path}");
    if let Error::Code(refused) = error {
        if let Some(sentence) = sentence(*refused) {
            return format!("{sentence}{path}");
        }
        return match long_name(*refused) {
            Some(name) => code(name),
            None => code(&format!("{refused:?}")),
        };
    }
    if *error == Error::SessionExpired {
        return code("Session expired");
    }
    if matches!(error, Error::ConnectionLoss | Error::AuthFailed) {
        return code(&error.to_string());
    }
    error.to_string()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others have the common form")]
fn sentence(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::NoNode => "Node does not exist: ",
        ErrorCode::NodeExists => "Node already exists: ",
        ErrorCode::NotEmpty => "Node not empty: ",
        ErrorCode::BadVersion => "version No is not valid : ",
        ErrorCode::NoChildrenForEphemerals => "Ephemerals cannot have children: ",
        ErrorCode::NoAuth => "Insufficient permission : ",
        ErrorCode::InvalidAcl => "Acl is not valid : ",
        ErrorCode::QuotaExceeded => "Quota has exceeded : ",
        _ => return None,
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others go by their own names")]
fn long_name(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::NoWatcher => "No such watcher",
        ErrorCode::ReconfigDisabled => "Reconfig is disabled",
        ErrorCode::SessionMoved => "Session moved",
        ErrorCode::NotReadOnly => "Not a read-only call",
        ErrorCode::EphemeralOnLocalSession => "Ephemeral node on local session",
        ErrorCode::SessionClosedRequireSaslAuth => {
            "Session closed because client failed to authenticate"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_java() {
        for (ms, text) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_795_438_204_999, "Mon Nov 23 12:50:04 UTC 2026"),
            (-1000, "Wed Dec 31 23:59:59 UTC 1969"),
        ] {
            assert_eq!(date(ms), text);
        }
    }

    #[test]
    fn errors_have_zookeepers_sentences() {
        let text = |code| error_text(&Error::Code(code), "/t1");
        assert_eq!(text(ErrorCode::NoNode), "Node does not exist: /t1");
        assert_eq!(text(ErrorCode::BadVersion), "version No is not valid : /t1");
        assert_eq!(text(ErrorCode::Unimplemented), "KeeperErrorCode = Unimplemented for /t1");
        let lost = error_text(&Error::ConnectionLoss, "/");
        assert_eq!(lost, "KeeperErrorCode = ConnectionLoss for /");
    }
}
