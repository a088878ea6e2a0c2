// Draws the API's documentation from its OpenAPI document.

const api = document.querySelector("#api");
SwaggerUIBundle({ url: api.dataset.openapi, domNode: api, deepLinking: true, validatorUrl: null });
