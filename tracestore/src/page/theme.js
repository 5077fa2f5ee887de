// Applies the remembered theme before anything is drawn. A classic script: modules run too late for that.

try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is switched off: the theme is that of the system.
}
