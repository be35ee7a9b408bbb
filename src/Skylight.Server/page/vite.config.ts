import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import type { Plugin } from 'vite';

/** Every browser that the page supports reads WOFF2; the older forms of KaTeX's fonts would treble the bundle. */
function fontsInOneForm(): Plugin {
  return {
    name: 'fonts-in-one-form',
    enforce: 'pre',
    transform(code, id) {
      if (!id.endsWith('katex.css')) return null;
      return code.replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\(["'](?:woff|truetype)["']\)/g, '');
    },
  };
}

/** Puts the licences of everything that is in the bundle beside it. */
function licences(): Plugin {
  return {
    name: 'licences',
    generateBundle(_, bundle) {
      const folders = new Set<string>();
      for (const file of Object.values(bundle)) {
        if (file.type !== 'chunk') continue;
        for (const id of file.moduleIds) {
          const match = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id);
          if (match) folders.add(match[1]!);
        }
      }
      const texts = [...folders].map(folder => {
        const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
        const file = readdirSync(folder).sort().find(each => /^(licen[cs]e|copying)/i.test(each));
        const text = file ? readFileSync(join(folder, file), 'utf8').trim() : `Licence: ${license}`;
        return `${name} ${version}\n\n${text.replace(/\r\n/g, '\n')}\n`;
      });
      if (texts.length === 0) throw new Error('No package was found in the bundle, and so no licence.');
      this.emitFile({ type: 'asset', fileName: 'page/licences.txt', source: texts.sort().join(`\n${'-'.repeat(78)}\n\n`) });
    },
  };
}

// What is built is committed and compared by CI: names without hashes keep its history readable, and the server's ETags
// keep browsers up to date.
export default defineConfig({
  base: './',
  plugins: [fontsInOneForm(), licences()],
  build: {
    target: 'es2022',
    outDir: 'dist',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: 'page/[name].js',
        chunkFileNames: 'page/[name].js',
        assetFileNames: 'page/[name][extname]',
      },
    },
  },
  server: {
    // npm run dev, beside a server that runs.
    proxy: Object.fromEntries(['/v1', '/health', '/metrics'].map(path => [path, 'http://127.0.0.1:8080'])),
  },
  test: { include: ['test/**/*.test.ts'] },
});

