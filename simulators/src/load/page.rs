//! A report as one HTML file that needs nothing else. Pure: a report in, text out.

use super::report::{Report, Second};

/// The page.
pub fn page(report: &Report) -> String {
    let colour = if report.passed { "#1a7f37" } else { "#b42318" };
    let mut rows = String::new();
    for p in &report.phases {
        rows += &format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.0}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td></tr>",
            escape(&p.name),
            p.planned,
            p.acked,
            p.rate,
            p.puback.p50,
            p.puback.p90,
            p.puback.p99,
            p.puback.max
        );
    }
    let mut limits = String::new();
    for j in &report.judgements {
        let word = if j.ok { "kept" } else { "missed" };
        limits += &format!(
            "<tr><td>{}</td><td>{:.2}</td><td>{}</td><td>{word}</td></tr>",
            escape(&j.limit),
            j.found,
            j.bound
        );
    }
    let rate =
        chart("Readings a second: due (grey) and acknowledged", report, |s| whole(s.planned), |s| whole(s.acked));
    let latency = chart("PUBACK from the planned moment, ms: p50 (grey) and p99", report, |s| s.p50, |s| s.p99);
    format!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}: {verdict}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330}}
table{{border-collapse:collapse;margin:1rem 0}}td,th{{border:1px solid #d5dae2;padding:.3rem .7rem;text-align:right}}
td:first-child,th:first-child{{text-align:left}}.verdict{{color:{colour};font-weight:700}}figure{{margin:1.5rem 0}}
code{{overflow-wrap:anywhere}}</style></head><body>
<h1>{name}</h1><p class="verdict">{verdict}</p><p>{purpose}</p>
<table><tr><th>Phase</th><th>planned</th><th>acked</th><th>acked/s</th><th>p50 ms</th><th>p90 ms</th><th>p99 ms</th><th>max ms</th></tr>{rows}</table>
<table><tr><th>Limit</th><th>found</th><th>limit</th><th></th></tr>{limits}</table>
{rate}{latency}
<p>{devices} connections, MQTT level {mqtt}; connect {connect}; generator's lag {lag}.
Connections lost {lost}, cut on purpose {cuts}; readings resent {resent}.</p>
<p>Seed {seed}, plan <code>{hash}</code>, ended {ended}, {processors} processors, {kernel}.</p></body></html>
"#,
        name = escape(&report.scenario.name),
        verdict = report.verdict(),
        purpose = escape(&report.scenario.purpose),
        devices = report.scenario.devices,
        mqtt = report.mqtt,
        connect = report.connect,
        lag = report.lag,
        lost = report.lost_connections,
        cuts = report.cuts,
        resent = report.resent,
        seed = report.seed,
        hash = report.plan_sha256,
        ended = escape(&report.ended_at),
        processors = report.machine.processors,
        kernel = escape(&report.machine.kernel),
    )
}

#[allow(clippy::cast_precision_loss, reason = "readings of a second are far below 2^53")]
fn whole(n: u64) -> f64 {
    n as f64
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Two lines over the seconds of the run.
fn chart(title: &str, report: &Report, grey: impl Fn(&Second) -> f64, dark: impl Fn(&Second) -> f64) -> String {
    let (width, height) = (900.0, 200.0);
    let top = report.timeline.iter().map(|s| grey(s).max(dark(s))).fold(1.0, f64::max);
    let last = report.timeline.last().map_or(1.0, |s| whole(s.second).max(1.0));
    let line = |value: &dyn Fn(&Second) -> f64| {
        let point =
            |s: &Second| format!("{:.1},{:.1}", whole(s.second) / last * width, height - value(s) / top * height);
        report.timeline.iter().map(point).collect::<Vec<_>>().join(" ")
    };
    format!(
        r##"<figure><figcaption>{title}; top {top:.1}, {last:.0} s</figcaption><svg viewBox="-2 -4 {} {}" role="img" aria-label="{title}">
<polyline points="0,0 0,{height} {width},{height}" fill="none" stroke="#d5dae2"/><polyline points="{}" fill="none" stroke="#8b95a5"/>
<polyline points="{}" fill="none" stroke="#1f5fbf" stroke-width="2"/></svg></figure>"##,
        width + 4.0,
        height + 8.0,
        line(&grey),
        line(&dark)
    )
}
