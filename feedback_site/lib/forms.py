"""How every form of the site is drawn: labels, help and errors as `.field` of css/components.css."""

from django.forms.renderers import TemplatesSetting


class Renderer(TemplatesSetting):
    """Forms and fields by our templates, widgets by Django's own (the app `django.forms` provides them)."""

    form_template_name = "forms/form.html"
    field_template_name = "forms/field.html"
