//! The form of RFC 3339, digit by digit: `2026-03-01T07:12:09`, then a fraction of any length or none, then an offset or,
//! where the contract lets it be left out, none.
//!
//! Goes in: text. Comes out: its fraction with the point, and its offset; none for any other form, such as `+0800`, a
//! minute without seconds, or a comma. Must never: judge the date; whoever reads the time does.

/// Characters up to the whole second.
pub(super) const WHOLE: usize = "2026-03-01T07:12:09".len();

pub(super) fn parts(text: &str) -> Option<(&str, &str)> {
    let (whole, rest) = text.split_at_checked(WHOLE)?;
    let form = |(i, b): (usize, u8)| match i {
        4 | 7 => b == b'-',
        10 => matches!(b, b'T' | b't'),
        13 | 16 => b == b':',
        _ => b.is_ascii_digit(),
    };
    if !whole.bytes().enumerate().all(form) {
        return None;
    }
    let (fraction, offset) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(digits) => {
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            if end == 0 {
                return None;
            }
            rest.split_at(end + 1)
        }
    };
    is_offset(offset).then_some((fraction, offset))
}

fn is_offset(text: &str) -> bool {
    match *text.as_bytes() {
        [] | [b'Z' | b'z'] => true,
        [b'+' | b'-', h1 @ b'0'..=b'2', h2 @ b'0'..=b'9', b':', b'0'..=b'5', b'0'..=b'9'] => h1 < b'2' || h2 < b'4',
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::SentTime;

    #[test]
    fn what_is_rfc_3339_is_a_time_and_nothing_else() {
        for good in [
            "2026-03-02T07:53:00Z",
            "2026-03-02t07:53:00z",
            "2026-03-02T07:53:00+08:00",
            "2026-03-02T07:53:00-00:00",
            "2026-03-02T07:53:00+23:59",
            "2026-03-01T23:53:60Z",
            "2026-03-02T07:53:00.5Z",
            "2026-03-02T07:53:00.123456789012345678901234567890+08:00",
        ] {
            assert!(matches!(SentTime::parse(good), Some(SentTime::Moment(_))), "{good}");
        }
        for good in ["2026-03-02T07:53:00", "2026-03-02T07:53:00.5", "2026-03-02T07:53:00.123456789012345678901"] {
            assert!(matches!(SentTime::parse(good), Some(SentTime::Wall(_))), "{good}");
        }
        for bad in [
            "",
            "now",
            "07:53",
            "2026-03-02",
            "20260302T075300Z",
            "2026-W10-1T07:53:00Z",
            "2026-061T07:53:00Z",
            "+002026-03-02T07:53:00Z",
            " 2026-03-02T07:53:00Z",
            "2026-03-02T07Z",
            "2026-03-02T07:53",
            "2026-03-02T07:53+08:00",
            "2026-03-02T07:53Z",
            "2026-03-02T07:53:00+0800",
            "2026-03-02T07:53:00+08",
            "2026-03-02T07:53:00+25:00",
            "2026-03-02T07:53:00+24:00",
            "2026-03-02T07:53:00+08:60",
            "2026-03-02T07:53:00+08:00:00",
            "2026-03-02T07:53:00,5Z",
            "2026-03-02T07:53:00,5",
            "2026-03-02T07:53:00.",
            "2026-03-02T07:53:00.Z",
            "2026-03-02T07:53:00[Asia/Shanghai]",
            "2026-03-02T07:53:00+08:00[Asia/Shanghai]",
            "2026-02-29T07:00:00+08:00",
            "2026-02-29T07:00:00",
            "2026-03-02T24:00:00+08:00",
            "2026-13-01T00:00:00Z",
            "2026-03-02T07:53:00\u{fc}",
            "2026-03-0\u{664}T07:53:00Z",
        ] {
            assert_eq!(SentTime::parse(bad), None, "{bad}");
        }
        let same = SentTime::parse("2026-03-02T07:53:00.123456789Z");
        assert_eq!(SentTime::parse("2026-03-02T07:53:00.1234567899999Z"), same, "finer than anything here");
    }
}
