/**
 * The page's style sheet: light and dark by the reader's preference, print, narrow screens. Categories use colours of Okabe and
 * Ito (2008), lightened in the dark; value runs from orange (0) over none (0.5) to blue (1).
 */

/** Colours by name, light and dark. `s-…`: series of plots; high and low: value; soft: secondary text. */
export const COLORS: Readonly<Record<string, readonly [light: string, dark: string]>> = {
  bg: ['#ffffff', '#15171a'],
  fg: ['#1a1a1a', '#e8e8e6'],
  soft: ['#555555', '#b0b0ac'],
  panel: ['#f5f5f3', '#1f2226'],
  axis: ['#767676', '#8f8f8c'],
  grid: ['#e4e4e4', '#33373c'],
  line: ['#cfcfcb', '#454a50'],
  link: ['#005a9c', '#7cc4f5'],
  focus: ['#b3004f', '#ff9ecb'],
  's-value': ['#0072b2', '#56b4e9'],
  's-linear': ['#d55e00', '#f0903c'],
  's-null': ['#6b6b6b', '#a8a8a8'],
  's-base': ['#008a63', '#35c99b'],
  's-refit': ['#b4518c', '#e29cc4'],
  high: ['#3d9ad6', '#1f7fc0'],
  low: ['#f0a020', '#a86400'],
  good: ['#006b4a', '#54d1a7'],
  bad: ['#a83200', '#ff9b73'],
};

const variables = (mode: 0 | 1): string => Object.entries(COLORS).map(([name, pair]) => `--${name}:${pair[mode]}`).join(';');

/** How much of high or low is mixed into the background at value 1 or 0, in per cent. */
export const STRONGEST = 80;

/** Classes v0 … v20 for values 0, 0.05, … 1. */
const LEVELS = Array.from({ length: 21 }, (_, level) => {
  const share = Math.round((Math.abs(level - 10) * STRONGEST) / 10);
  return `.v${level}{background:color-mix(in srgb,var(--${level > 10 ? 'high' : 'low'}) ${share}%,transparent)}`;
}).join('\n');

/** Panes that panels may have. */
export const MOST_PANES = 24;

/** One pane is shown: that of the checked radio button. */
const PANES = Array.from({ length: MOST_PANES }, (_, i) => i + 1).map((n) => `.panels>input:nth-of-type(${n}):checked~.panes>:nth-child(${n})`).join(',');

/** The style sheet as text. */
export const STYLE = `:root{color-scheme:light dark;${variables(0)}}
@media screen and (prefers-color-scheme:dark){:root{${variables(1)}}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem clamp(.8rem,3vw,2.5rem) 4rem;max-width:90rem;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:.5rem 0;overflow-wrap:anywhere}
h2{font-size:1.4rem;margin:2.5rem 0 .75rem;padding-top:.5rem;border-top:2px solid var(--line);overflow-wrap:anywhere}
h3{font-size:1.15rem;margin:2rem 0 .75rem}
p,ul{max-width:75ch}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--focus);outline-offset:2px}
.skip{position:absolute;left:-999em}
.skip:focus{left:1rem;background:var(--bg);padding:.5rem;z-index:9}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;padding:0;margin:.4rem 0;list-style:none;max-width:none}
.findings li{margin:.4rem 0}
.how{color:var(--soft);font-size:.9rem;margin:.5rem 0}
.how strong{color:var(--fg)}
.good{color:var(--good)}
.bad{color:var(--bad)}
.mark{border:1px solid var(--axis);border-radius:3px;padding:0 .3em;font-size:.85em;white-space:nowrap;font-weight:normal}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem 2rem;align-items:start}
.pair>*{min-width:0}
.pair.small{grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
tbody th{min-width:7.5rem}
.sortable tbody th{min-width:0;white-space:nowrap}
.small .plot svg{min-width:21rem;max-width:30rem}
.small tbody th{min-width:0;white-space:nowrap}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.875rem;margin:.5rem 0;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:.25rem 0;max-width:min(75ch,calc(100vw - 1.6rem))}
th,td{padding:.25rem .75rem .25rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);font-weight:normal}
thead th{vertical-align:bottom;color:var(--soft);border-bottom:2px solid var(--axis)}
.n{text-align:right;padding:.25rem .4rem .25rem .75rem}
td.n{white-space:nowrap}
.pairs th{color:var(--soft);white-space:nowrap}
.pairs td{overflow-wrap:anywhere}
code,pre,.tokens{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.875rem}
pre{background:var(--panel);padding:.6rem .8rem;margin:.25rem 0;white-space:pre-wrap;overflow-wrap:anywhere;max-height:16rem;overflow-y:auto}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;text-align:inherit;cursor:pointer;text-decoration:underline dotted;text-underline-offset:.2em}
[aria-sort=ascending] button::after{content:" ▲"}
[aria-sort=descending] button::after{content:" ▼"}
figure{margin:0}
figcaption{font-weight:600;margin:.25rem 0}
.plot svg{display:block;width:100%;min-width:26rem;max-width:44rem;height:auto}
.wide svg{min-width:52rem;max-width:80rem}
details{margin:.5rem 0}
summary{cursor:pointer;color:var(--link);width:fit-content}
.panels{border:0;padding:0;margin:0;min-width:0;white-space:nowrap}
.panels>*{white-space:normal}
.panels>legend{color:var(--soft);font-size:.875rem;padding:0}
.panels>input{margin:0 .3rem 0 0;accent-color:var(--s-value)}
.panels>label{display:inline-block;margin-right:1rem;font-size:.9rem}
.panes>div{display:none}
.pane-name{display:none}
${PANES}{display:block}
select{font:inherit;max-width:100%;background:var(--panel);color:var(--fg);border:1px solid var(--axis);padding:.2rem .4rem}
.label{margin:.75rem 0 .1rem;color:var(--soft);font-size:.875rem}
.legend{display:flex;flex-direction:column;gap:.35rem;font-size:.9rem;background:var(--panel);padding:.6rem .8rem}
.trace{position:relative;min-width:26rem;max-width:44rem}
.trace svg{display:block;width:100%;height:auto}
.cursor{position:absolute;top:6%;bottom:26%;left:calc(var(--left) + var(--at)*var(--width));border-left:2px solid var(--focus);pointer-events:none}
.tokens{position:relative;padding-bottom:3.5rem;line-height:1.2;font-size:.95rem;color:var(--fg)}
.t{display:inline-block;position:relative;max-width:100%;vertical-align:top;overflow-wrap:anywhere;padding:.1rem 1px 17px;margin:0 1px 4px 0;min-width:.7em;text-align:center;cursor:default;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;unicode-bidi:isolate}
.t:focus-visible{outline-offset:0;z-index:1}
.up::after,.down::after{content:"";position:absolute;left:1px;right:1px;height:calc(7px*var(--d) + 1px)}
.up::after{bottom:8px;background:var(--fg)}
.down::after{top:calc(100% - 8px);border:1px solid var(--fg);border-top-width:2px}
.note{position:absolute;z-index:5;background:var(--fg);color:var(--bg);padding:.35rem .6rem;border-radius:4px;font-size:.875rem;line-height:1.35;max-width:min(100%,24rem)}
${LEVELS}
[hidden]{display:none!important}
@media (max-width:40rem){body{font-size:15px}.pairs th{white-space:normal}th,td{padding-right:.5rem}}
@media print{body{max-width:none;font-size:11pt;padding:0}nav,.skip,select,.panels>input,.panels>label,.panels>legend{display:none}.panes>div,.pane-name{display:block}
.scroll{overflow:visible}table{font-size:8pt}td.n{white-space:normal}th,td,.n{padding:.15rem .3rem .15rem 0}.plot svg,.pair.small .plot svg,.trace{min-width:0}figure,tr{break-inside:avoid}h2,h3,figcaption{break-after:avoid}.t{-webkit-print-color-adjust:exact;print-color-adjust:exact}pre{max-height:none}}
`;
