// For browsers without modules; written in the JavaScript that those know.
document.addEventListener("DOMContentLoaded", function () {
  document.getElementById("boot").textContent =
    "This browser is too old for Vivarium. Please use a current Firefox, Chrome, Edge or Safari.";
});
