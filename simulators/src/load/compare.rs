//! Two reports side by side. Pure: two reports in, lines out.

use super::report::Report;

/// A table of what matters, with the change in percent; says so when the runs are not comparable.
pub fn compare(a: &Report, b: &Report) -> String {
    let rows = [
        ("readings acked/s", a.rate, b.rate),
        ("PUBACK p50 ms", a.puback.p50, b.puback.p50),
        ("PUBACK p90 ms", a.puback.p90, b.puback.p90),
        ("PUBACK p99 ms", a.puback.p99, b.puback.p99),
        ("PUBACK p99.9 ms", a.puback.p999, b.puback.p999),
        ("PUBACK max ms", a.puback.max, b.puback.max),
        ("connect p50 ms", a.connect.p50, b.connect.p50),
        ("connect p99 ms", a.connect.p99, b.connect.p99),
        ("lag p99 ms", a.lag.p99, b.lag.p99),
    ];
    let mut out = format!("{:<22}{:>14}{:>14}{:>10}\n", "", "A", "B", "change");
    for (name, x, y) in rows {
        let change = if x > 0.0 { format!("{:+.1} %", (y / x - 1.0) * 100.0) } else { "-".into() };
        out += &format!("{name:<22}{x:>14.2}{y:>14.2}{change:>10}\n");
    }
    for (name, x, y) in [
        ("readings acked", a.acked, b.acked),
        ("readings lost", a.lost, b.lost),
        ("readings resent", a.resent, b.resent),
        ("connections lost", a.lost_connections, b.lost_connections),
    ] {
        out += &format!("{name:<22}{x:>14}{y:>14}\n");
    }
    out += &format!("verdict: A {}, B {}\n", a.verdict(), b.verdict());
    if a.plan_sha256 != b.plan_sha256 {
        out += "The plans differ: seed or scenario is not the same, so small differences mean nothing.\n";
    }
    out
}
