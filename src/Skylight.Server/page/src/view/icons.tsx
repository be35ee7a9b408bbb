import type { ComponentChildren } from 'preact';

const icon = (children: ComponentChildren) => () => (
  <svg viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round"
    stroke-linejoin="round" aria-hidden="true" focusable="false">
    {children}
  </svg>
);

export const Icons = {
  Menu: icon(<path d="M4 7h16M4 12h16M4 17h10" />),
  Plus: icon(<path d="M12 5v14M5 12h14" />),
  Picture: icon(<><rect x="3.5" y="4.5" width="17" height="15" rx="2.5" /><circle cx="9" cy="10" r="1.6" />
    <path d="m4 17 4.6-4.2a1.6 1.6 0 0 1 2.2 0L16 18M14 15.5l1.8-1.7a1.6 1.6 0 0 1 2.2 0l2.5 2.3" /></>),
  Camera: icon(<><path d="M4.5 8h2.7l1.4-2.2h6.8L16.8 8h2.7A1.5 1.5 0 0 1 21 9.5v8A1.5 1.5 0 0 1 19.5 19h-15A1.5 1.5 0 0 1 3 17.5v-8A1.5 1.5 0 0 1 4.5 8z" />
    <circle cx="12" cy="13" r="3.3" /></>),
  Send: icon(<path d="M12 19V5.5M6 11l6-6 6 6" />),
  Stop: icon(<rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor" stroke="none" />),
  Copy: icon(<><rect x="8.5" y="8.5" width="11" height="11" rx="2" /><path d="M15.5 5.5v-.3A1.7 1.7 0 0 0 13.8 3.5H5.7A1.7 1.7 0 0 0 4 5.2v8.1A1.7 1.7 0 0 0 5.7 15H6" /></>),
  Check: icon(<path d="m5 12.5 4.5 4.5L19 7.5" />),
  Again: icon(<><path d="M20 11.5A8 8 0 1 0 17.7 17.5" /><path d="M20 5.5v6h-6" /></>),
  Edit: icon(<path d="M4 20h4L19 9a2 2 0 0 0 0-2.8L17.8 5A2 2 0 0 0 15 5L4 16zM13.5 6.5l4 4" />),
  GoOn: icon(<path d="M5 12h13M13 6.5l5.5 5.5-5.5 5.5" />),
  Left: icon(<path d="m14.5 6-6 6 6 6" />),
  Right: icon(<path d="m9.5 6 6 6-6 6" />),
  Down: icon(<path d="m6 9.5 6 6 6-6" />),
  Close: icon(<path d="m6 6 12 12M18 6 6 18" />),
  Trash: icon(<path d="M4.5 7h15M9.5 7V5a1 1 0 0 1 1-1h3a1 1 0 0 1 1 1v2M6.5 7l.8 11.6A1.5 1.5 0 0 0 8.8 20h6.4a1.5 1.5 0 0 0 1.5-1.4L17.5 7M10.5 11v5M13.5 11v5" />),
  Save: icon(<path d="M12 4v11M7 10.5l5 5 5-5M5 19.5h14" />),
  Settings: icon(<><path d="M4 7.5h9M17.5 7.5H20M4 16.5h2.5M11 16.5h9" /><circle cx="15.2" cy="7.5" r="2.3" /><circle cx="8.7" cy="16.5" r="2.3" /></>),
  Sun: icon(<><circle cx="12" cy="12" r="4" /><path d="M12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1.1 1.1M17.3 17.3l1.1 1.1M5.6 18.4l1.1-1.1M17.3 6.7l1.1-1.1" /></>),
  Moon: icon(<path d="M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z" />),
  System: icon(<><circle cx="12" cy="12" r="8" /><path d="M12 4v16a8 8 0 0 0 0-16z" fill="currentColor" stroke="none" /></>),
  Shade: icon(<><rect x="3.5" y="6.5" width="4.5" height="11" rx="1" fill="currentColor" fill-opacity=".15" />
    <rect x="9.8" y="6.5" width="4.5" height="11" rx="1" fill="currentColor" fill-opacity=".85" />
    <rect x="16" y="6.5" width="4.5" height="11" rx="1" fill="currentColor" fill-opacity=".4" /></>),
  Server: icon(<><rect x="4" y="4.5" width="16" height="6.5" rx="1.8" /><rect x="4" y="13" width="16" height="6.5" rx="1.8" /><path d="M7.5 7.7h.01M7.5 16.2h.01M11 7.7h5M11 16.2h5" /></>),
  Alert: icon(<><path d="M12 8.5v4.5M12 16.3v.01" /><circle cx="12" cy="12" r="8.5" /></>),
};
