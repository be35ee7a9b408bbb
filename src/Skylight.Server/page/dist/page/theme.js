// Before anything is painted, so that a dark page does not begin with a white flash.
(function () {
  try {
    var theme = JSON.parse(localStorage.getItem('skylight.settings') || '{}').theme;
    if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;
  } catch (error) {
    // Settings that cannot be read are those of a page that has none.
  }
})();
