//! Settings of a model's tasks: docs/reference/settings.md.

use frontend::Model;
use ir::artifact::SettingValue;
use ir::task::Task;

/// Sections for the tasks of a model, in Markdown.
pub fn section(file: &str, model: &Model) -> String {
    model.tasks.iter().map(|t| table(file, t)).collect()
}

fn table(file: &str, task: &Task) -> String {
    let mut out = format!("## {} of {file}\n\n{}\n\n", task.name, task.about);
    out.push_str("| setting | default | takes | |\n|-|-|-|-|\n");
    for s in &task.settings {
        let takes = s.range.short().replace('|', " or ");
        out.push_str(&format!(
            "| `{}` | {} | {takes} | {} |\n",
            s.name,
            value(&s.value),
            s.doc.replace('|', "\\|")
        ));
    }
    if !task.by_hours.is_empty() {
        out.push_str("\nBy hours of training data, unless `--set` says otherwise:\n\n| hours | settings |\n|-|-|\n");
        for at in &task.by_hours {
            let values = at.values.iter().map(|(name, v)| format!("`{name}` {}", value(v)));
            out.push_str(&format!(
                "| {} | {} |\n",
                at.hours,
                values.collect::<Vec<_>>().join(", ")
            ));
        }
    }
    out.push('\n');
    out
}

fn value(value: &SettingValue) -> String {
    match value {
        SettingValue::Number(n) => n.to_string(),
        SettingValue::Text(t) if t.is_empty() => "\"\"".into(),
        SettingValue::Text(t) => t.clone(),
        SettingValue::Flag(f) => f.to_string(),
    }
}
