import type { Settings } from '../types';

const place = 'skylight.settings';

export const defaults: Settings = {
  system: '', temperature: '', topP: '', maxTokens: '', seed: '', thinking: 'auto', measure: true, shade: false, theme: 'system',
};

/** Settings from a text that may be of another version of the page, or nobody's. */
export function settingsOf(text: string | null): Settings {
  const settings: Record<string, unknown> = { ...defaults };
  try {
    const stored = JSON.parse(text ?? '{}') as Record<string, unknown>;
    for (const [name, value] of Object.entries(defaults))
      if (stored !== null && typeof stored[name] === typeof value) settings[name] = stored[name];
  } catch {
    return { ...defaults };
  }
  const valid = settings as unknown as Settings;
  if (!['auto', 'on', 'off'].includes(valid.thinking)) valid.thinking = defaults.thinking;
  if (!['system', 'light', 'dark'].includes(valid.theme)) valid.theme = defaults.theme;
  return valid;
}

export function readSettings(): Settings {
  try {
    return settingsOf(localStorage.getItem(place));
  } catch {
    return { ...defaults };
  }
}

export function writeSettings(settings: Settings): void {
  try {
    localStorage.setItem(place, JSON.stringify(settings));
  } catch {
    // They last as long as the page.
  }
  if (settings.theme === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = settings.theme;
}

/** The key lasts as long as the tab, and is in no other. */
export const keyStore = {
  read: (): string => {
    try {
      return sessionStorage.getItem('skylight.key') ?? '';
    } catch {
      return '';
    }
  },
  write: (key: string): void => {
    try {
      if (key) sessionStorage.setItem('skylight.key', key);
      else sessionStorage.removeItem('skylight.key');
    } catch {
      // It lasts as long as the page.
    }
  },
};
