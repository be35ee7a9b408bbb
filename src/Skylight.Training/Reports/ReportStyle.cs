namespace Skylight.Training.Reports;

/// <summary>The report's look: one style sheet, light and dark.</summary>
public static class ReportStyle
{
    // No "<" or "&" in here: the page is XML, too.
    /// <summary>The sheet.</summary>
    public const string Css = """
        :root {
          color-scheme: light dark;
          --page: #f5f6f8; --card: #ffffff; --ink: #161b22; --soft: #59636f; --rule: #e4e7ec; --track: #edf0f4;
          --one: #2459d3; --two: #c2630c; --good: #18794e; --good-back: #e4f5ec; --bad: #b3352b; --bad-back: #fbe9e7;
          --mark: #fff0c2; --shadow: 0 1px 2px rgba(16, 24, 40, .06);
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --page: #0e1116; --card: #161b22; --ink: #e6eaf0; --soft: #98a3b1; --rule: #2a313b; --track: #222933;
            --one: #7ea6ff; --two: #f2a65a; --good: #5fd09a; --good-back: #14301f; --bad: #ff8a80; --bad-back: #3a1a18;
            --mark: #5a4a14; --shadow: none;
          }
        }
        * { box-sizing: border-box; }
        body {
          margin: 0; background: var(--page); color: var(--ink);
          font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
        }
        main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
        h1 { font-size: 30px; line-height: 1.2; letter-spacing: -.015em; margin: 6px 0 10px; text-wrap: balance; }
        h2 { font-size: 20px; letter-spacing: -.01em; margin: 44px 0 4px; }
        h3 { font-size: 15px; margin: 0; }
        p { margin: 0; }
        .eyebrow { color: var(--one); font-size: 13px; font-weight: 600; letter-spacing: .06em; text-transform: uppercase; }
        .lead { color: var(--soft); max-width: 74ch; }
        .note { color: var(--soft); font-size: 14px; max-width: 84ch; margin-bottom: 14px; }
        .card { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 18px 20px; box-shadow: var(--shadow); }
        .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 14px; margin-top: 26px; }
        .figures dt { color: var(--soft); font-size: 13px; }
        .figures dd { margin: 2px 0 0; }
        .figures .value { font-size: 28px; font-weight: 650; letter-spacing: -.02em; line-height: 1.25; font-variant-numeric: tabular-nums; }
        .figures .detail { color: var(--soft); font-size: 13px; }
        dl { margin: 0; }
        .phases { display: grid; gap: 16px; }
        .phase { display: grid; grid-template-columns: minmax(150px, 280px) 1fr 150px; gap: 4px 18px; align-items: center; }
        .phase .name { font-weight: 600; font-size: 15px; line-height: 1.35; }
        .phase .about { color: var(--soft); font-size: 13px; font-weight: 400; display: block; }
        .track { position: relative; height: 26px; background: var(--track); border-radius: 5px; }
        .fill { position: absolute; left: 0; top: 0; bottom: 0; background: var(--one); border-radius: 5px; min-width: 2px; }
        .fill.quiet { opacity: .5; }
        .fill.two { background: var(--two); }
        .whisker { position: absolute; top: 8px; height: 10px; border: solid var(--ink); border-width: 0 2px; opacity: .75; }
        .whisker::after { content: ""; position: absolute; left: 0; right: 0; top: 4px; height: 2px; background: var(--ink); }
        .phase .percent { font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
        .phase .range { color: var(--soft); font-size: 12px; font-weight: 400; display: block; font-variant-numeric: tabular-nums; }
        .grid2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 14px; }
        .legend { display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: 13px; color: var(--soft); margin-bottom: 12px; }
        .legend span::before { content: ""; display: inline-block; width: 16px; height: 3px; border-radius: 2px; margin-right: 7px; vertical-align: 4px; background: currentColor; }
        .legend .dots::before { width: 8px; height: 8px; border-radius: 50%; vertical-align: 0; }
        .legend b { font-weight: 400; color: var(--soft); }
        .legend .one, svg .one { color: var(--one); } .legend .two, svg .two { color: var(--two); }
        .chart { display: block; width: 100%; height: auto; margin-top: 8px; font-size: 12.5px; font-variant-numeric: tabular-nums; overflow: visible; }
        .chart .grid { stroke: var(--rule); stroke-width: 1; }
        .chart .tick { fill: var(--soft); }
        .chart .line { fill: none; stroke: currentColor; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
        .chart .raw { fill: none; stroke: currentColor; stroke-width: 1; opacity: .32; }
        .chart .dot { fill: var(--card); stroke: currentColor; stroke-width: 2; }
        .chart .end { fill: currentColor; font-weight: 600; }
        .chart .mark { stroke: var(--soft); stroke-width: 1.25; stroke-dasharray: 3 3; }
        .chart .mark-label { fill: var(--soft); }
        .chart .hover { fill: transparent; }
        .empty { color: var(--soft); padding: 40px 0; text-align: center; }
        .scroll { overflow-x: auto; }
        table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
        th, td { text-align: right; padding: 7px 12px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
        th { color: var(--soft); font-weight: 500; font-size: 13px; }
        th:first-child, td:first-child { text-align: left; padding-left: 0; }
        th:last-child, td:last-child { text-align: left; }
        .numbers th:last-child, .numbers td:last-child { text-align: right; }
        tr:last-child td { border-bottom: 0; }
        tr.chosen td { font-weight: 650; }
        .tag { display: inline-block; font-size: 12px; font-weight: 600; line-height: 1.6; padding: 0 8px; border-radius: 99px; background: var(--track); color: var(--soft); }
        .tag.good { background: var(--good-back); color: var(--good); } .tag.bad { background: var(--bad-back); color: var(--bad); }
        .verdict { margin: 0 0 12px; }
        .examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); gap: 14px; }
        .example { display: flex; flex-direction: column; gap: 12px; }
        .example img { width: 100%; height: auto; aspect-ratio: 3 / 1; image-rendering: pixelated; border-radius: 7px; display: block; }
        .asked { display: flex; justify-content: space-between; gap: 12px; align-items: baseline; font-size: 14.5px; font-weight: 600; line-height: 1.35; }
        .asked .answer { color: var(--soft); font-weight: 400; white-space: nowrap; font-size: 13px; }
        .turn { border-top: 1px solid var(--rule); padding-top: 10px; }
        .turn .head { display: flex; justify-content: space-between; align-items: center; font-size: 13px; color: var(--soft); margin-bottom: 4px; }
        .turn code { display: block; }
        code { font: 13.5px/1.55 ui-monospace, "SF Mono", "Cascadia Mono", Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
        .turn .final { font-weight: 700; }
        mark { background: var(--mark); color: inherit; border-radius: 3px; padding: 0 2px; }
        .facts { display: grid; grid-template-columns: max-content 1fr; gap: 6px 22px; font-size: 14px; }
        .facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
        @media (max-width: 640px) {
          main { padding: 24px 16px 48px; } h1 { font-size: 25px; }
          .phase { grid-template-columns: 1fr auto; } .phase .track { grid-column: 1 / -1; grid-row: 2; }
          .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: 8px; }
        }
        @media print { body { background: none; } .card { break-inside: avoid; box-shadow: none; } }
        """;
}
