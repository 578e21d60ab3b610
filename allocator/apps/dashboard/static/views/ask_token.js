/* The form for the token: shown without one, and where the server refuses the one that is kept. */

import { token } from "../api.js";
import { h } from "../dom.js";

export function askToken(why, begin) {
  token.drop();
  const input = h("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    required: true,
    spellcheck: "false",
    "aria-describedby": "token-hint token-error",
    "aria-invalid": why ? "true" : null,
  });
  const form = h(
    "form",
    {
      class: "token panel",
      on: {
        submit: (event) => {
          event.preventDefault();
          if (!input.value.trim()) return;
          token.set(input.value.trim());
          begin();
        },
      },
    },
    h("h1", {}, "Token"),
    h(
      "p",
      { id: "token-hint", class: "soft" },
      "The command ",
      h("code", {}, "resource-allocator dashboard"),
      " prints an address with the token after ",
      h("code", {}, "#token="),
      ". Open that address, or paste the token.",
    ),
    h("label", { for: "token" }, "Token of this dashboard"),
    input,
    h(
      "p",
      { id: "token-error", class: "field-error", role: "alert" },
      why ? "The server does not accept this token. It may have been started anew, with another one." : "",
    ),
    h("button", { type: "submit", class: "primary" }, "Open"),
  );
  return form;
}
