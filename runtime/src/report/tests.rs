//! The page as a whole, and as a browser shows it.

use super::*;
use std::process::Command;

fn two_runs(dir: &Path) -> Vec<RunLog> {
    let dirs = ["first", "second"].map(|n| dir.join(n));
    dirs.iter()
        .enumerate()
        .for_each(|(i, d)| read::tests::write(d, i as f64));
    super::read(&dirs).unwrap()
}

#[test]
fn the_page_holds_every_number_of_every_run_and_nothing_from_elsewhere() {
    let tmp = tempfile::tempdir().unwrap();
    let runs = two_runs(tmp.path());
    assert_eq!([runs[0].name.as_str(), &runs[1].name], ["first", "second"]);
    let html = page::page(&runs);
    for name in ["loss_bits", "wer", "lr", "epoch"] {
        assert_eq!(html.matches(&format!("aria-label=\"{name}\"")).count(), 1, "{name}");
    }
    let loss = html
        .split("aria-label=\"loss_bits\"")
        .nth(1)
        .unwrap()
        .split("</svg>")
        .next()
        .unwrap();
    assert_eq!(
        loss.matches("class=\"curve\"").count(),
        4,
        "training and validation of two runs"
    );
    assert!(html.contains("<ins>&lt;TO&gt;</ins>") && html.contains("<del>TWO</del>"));
    assert!(html.contains("one &lt;clip&gt; &amp; more") && !html.contains("<clip>"));
    assert!(
        html.contains("class=\"differs\"><td><code>lr"),
        "settings that differ are marked"
    );
    assert!(!html.contains("class=\"differs\"><td><code>on_nan"));
    assert!(html.contains("aria-label=\"seconds\""), "histograms");
    // Self-contained: no address, no script, no other file.
    for foreign in ["http:", "https:", "src=", "href=", "url(", "<script", "@import"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    for tag in ["svg", "table", "div", "body", "tr", "td"] {
        let open = html.matches(&format!("<{tag} ")).count() + html.matches(&format!("<{tag}>")).count();
        assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
}

#[test]
fn event_files_stay_below_their_folder() {
    let tmp = tempfile::tempdir().unwrap();
    let mut runs = two_runs(tmp.path());
    runs[1].name = "../../x/y".into();
    let out = tmp.path().join("tb");
    write_events(&runs, &out).unwrap();
    for place in ["first/train", "first/valid", "x_y/train"] {
        assert!(out.join(place).join("events.out.tfevents.0.w2vc").is_file(), "{place}");
    }
    // 400 updates of three numbers, and the version.
    let bytes = std::fs::read(out.join("first/train/events.out.tfevents.0.w2vc")).unwrap();
    let (mut at, mut records) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        at += 8 + 4 + length + 4;
        records += 1;
    }
    assert_eq!((at, records), (bytes.len(), 1 + 3 * 400));
}

/// Chromium lays the page out: charts have their curves where they can be seen, and nothing is wider than the window.
#[test]
fn a_browser_shows_the_page() {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|b| {
        Command::new(b)
            .arg("--version")
            .output()
            .is_ok_and(|o| o.status.success())
    }) else {
        eprintln!("skipped: no Chromium is installed");
        return;
    };
    let tmp = tempfile::tempdir().unwrap();
    let (path, shot) = (tmp.path().join("report.html"), tmp.path().join("shot.png"));
    write_page(&two_runs(tmp.path()), &path).unwrap();
    // Measured by the page itself: a copy with a script that writes sizes into its title.
    let measure = "<script>const r=[...document.querySelectorAll('.curve')].map(p=>p.getBoundingClientRect());\
                   const seen=r.filter(b=>b.width>20&&b.height>=0&&b.right<=innerWidth&&b.left>=0).length;\
                   document.title='curves '+r.length+' seen '+seen+' overflow '+\
                   (document.documentElement.scrollWidth>innerWidth);</script></body>";
    let html = std::fs::read_to_string(&path).unwrap().replace("</body>", measure);
    let measured = tmp.path().join("measured.html");
    std::fs::write(&measured, html).unwrap();
    let run = |arguments: &[String]| {
        let mut command = Command::new(browser);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
        ]);
        command.arg(format!("--user-data-dir={}", tmp.path().join("profile").display()));
        command.args(arguments).output().unwrap()
    };
    let url = |p: &Path| format!("file://{}", p.display());
    let out = run(&["--dump-dom".into(), url(&measured)]);
    let dom = String::from_utf8_lossy(&out.stdout).into_owned();
    let title = dom
        .split("<title>")
        .nth(1)
        .and_then(|t| t.split('<').next())
        .unwrap_or_default();
    // loss_bits 4, wer 2, lr 2, epoch 2.
    assert_eq!(
        title,
        "curves 10 seen 10 overflow false",
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    run(&[format!("--screenshot={}", shot.display()), url(&path)]);
    assert!(
        std::fs::metadata(&shot).unwrap().len() > 20_000,
        "the screenshot is nearly empty"
    );
}
