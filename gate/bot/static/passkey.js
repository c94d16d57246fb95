"use strict";
// The one step that needs JavaScript: only the browser can ask for a passkey. Everything else on these pages is forms.
// A form with data-passkey="get" or "create" asks its data-options for a challenge, and sends what the passkey made of it.

(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const withIds = (list) => (list || []).map((entry) => ({ ...entry, id: bytes(entry.id) }));

  async function get(options) {
    const publicKey = { ...options, challenge: bytes(options.challenge), allowCredentials: withIds(options.allowCredentials) };
    const { rawId, response } = await navigator.credentials.get({ publicKey });
    return {
      id: text(rawId),
      authenticatorData: text(response.authenticatorData),
      clientDataJSON: text(response.clientDataJSON),
      signature: text(response.signature),
    };
  }

  async function create(options) {
    const publicKey = {
      ...options,
      challenge: bytes(options.challenge),
      user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: withIds(options.excludeCredentials),
    };
    const { id, rawId, type, response } = await navigator.credentials.create({ publicKey });
    return {
      id,
      rawId: text(rawId),
      type,
      response: { clientDataJSON: text(response.clientDataJSON), attestationObject: text(response.attestationObject) },
    };
  }

  const words = {
    NotAllowedError: "The passkey was not used: it was cancelled, took too long, or is not on this device. Nothing was sent. Try again when you are ready.",
    InvalidStateError: "This device holds a passkey of yours already.",
    SecurityError: "The browser refuses passkeys on this address. Open the link exactly as you got it.",
  };

  async function options(form) {
    const answer = await fetch(form.dataset.options, {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new URLSearchParams(new FormData(form)),
    });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      const error = told.error || {};
      throw Object.assign(new Error([error.message, error.hint].filter(Boolean).join(" ") || "The bot did not answer as it should. Try again."), { name: "Told" });
    }
    return told;
  }

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const button = form.querySelector("button");
    const trouble = document.getElementById(form.dataset.trouble);
    const complain = (message) => {
      trouble.textContent = message;
      trouble.hidden = false;
      button.disabled = false;
      trouble.focus();
    };
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      if (!window.PublicKeyCredential) return complain("This browser has no passkeys. Open the link in another one.");
      button.disabled = true;
      trouble.hidden = true;
      try {
        const made = await (form.dataset.passkey === "get" ? get : create)(await options(form));
        form.elements.credential.value = JSON.stringify(made);
        form.submit();
      } catch (error) {
        complain(error.name === "Told" ? error.message : words[error.name] || "The passkey could not be used. Try again.");
      }
    });
    // Back from the page that follows: the button works again.
    window.addEventListener("pageshow", () => { button.disabled = false; });
  }
})();
