//! The text of a record, read exactly as the scripts read it.

use crate::model::Claim;

/// Above this a Lua number (a double) no longer holds every epoch; it is the year 2255.
const LAST_EPOCH: u64 = (1 << 53) - 2;

/// The claim that `text` is; `None` for anything the scripts would not have written.
///
/// One spelling only (no leading zeros, lower case), so that scripts, which compare text, and
/// readers, which compare values, never disagree about a record.
pub fn parse(text: &str) -> Option<Claim> {
    let claim: Claim = text.parse().ok()?;
    let mut parts = text.splitn(4, ':');
    let (epoch, _, session) = (parts.next()?, parts.next()?, parts.next()?);
    let plain = |digits: &str| digits == "0" || !digits.starts_with('0');
    let lower = !session.bytes().any(|b| b.is_ascii_uppercase());
    (plain(epoch) && plain(session) && lower && claim.epoch.micros() <= LAST_EPOCH).then_some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_spelling_of_the_scripts_is_a_record() {
        for text in ["1:aaaaaaaa:0:mps", "9007199254740990:aaaaaaaa:1f:fd00::1"] {
            assert_eq!(parse(text).expect(text).to_string(), text);
        }
        for text in [
            "",
            "garbage",
            "01:aaaaaaaa:1:mps",
            "1:aaaaaaaa:01:mps",
            "1:aaaaaaaa:1F:mps",
            "9007199254740991:aaaaaaaa:1:mps",
            "18446744073709551616:aaaaaaaa:1:mps",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
