import { defineConfig } from 'vite';

// The service serves the page and its API from one origin: `npm run dev` sends the calls of the page on to a service on port 5000.
export default defineConfig({
  build: {
    outDir: 'dist',
    assetsDir: 'assets',
    // Everything is a file of its own: the page's Content-Security-Policy allows nothing inline.
    assetsInlineLimit: 0,
    modulePreload: false,
    target: 'es2022',
  },
  server: { proxy: Object.fromEntries(['/v1', '/v2', '/health', '/openapi'].map((path) => [path, 'http://localhost:5000'])) },
});
